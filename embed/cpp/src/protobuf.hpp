// Fields of a serialised protocol buffer that may be hostile, one after the other. Reads, and copies nothing.
#pragma once

#include <cstdint>
#include <string_view>

namespace gpsr::protobuf {

// What `Reader::next` throws for bytes that are no protocol buffer.
struct Damaged {};

enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

// One field. `value` is that of a varint, `bytes` those of the others.
struct Field {
    std::uint32_t number = 0;
    Wire wire = Wire::varint;
    std::uint64_t value = 0;
    std::string_view bytes;

    // Whether it is this field, of this kind. Throws Damaged where it is this field of another kind.
    bool is(std::uint32_t wanted, Wire kind) const {
        if (number == wanted && wire != kind) {
            throw Damaged{};
        }
        return number == wanted;
    }
};

class Reader {
  public:
    explicit Reader(std::string_view message) : rest_(message) {}

    // The next field; false at the end. Throws Damaged.
    bool next(Field& field) {
        if (rest_.empty()) {
            return false;
        }
        const std::uint64_t key = varint();
        field = {static_cast<std::uint32_t>(key >> 3U), static_cast<Wire>(key & 7U), 0, {}};
        if (key >> 3U == 0 || key >> 32U != 0) {
            throw Damaged{};
        }
        switch (field.wire) {
        case Wire::varint:
            field.value = varint();
            return true;
        case Wire::fixed64:
            field.bytes = taken(8);
            return true;
        case Wire::bytes:
            field.bytes = taken(varint());
            return true;
        case Wire::fixed32:
            field.bytes = taken(4);
            return true;
        }
        throw Damaged{}; // groups, which nobody writes any more
    }

    bool done() const { return rest_.empty(); }

    // A number of up to 64 bits. Throws Damaged.
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            const auto byte = static_cast<unsigned char>(taken(1).front());
            value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
            if (byte < 0x80) {
                return value;
            }
        }
        throw Damaged{};
    }

  private:
    std::string_view taken(std::uint64_t size) {
        if (size > rest_.size()) {
            throw Damaged{};
        }
        const auto found = rest_.substr(0, static_cast<std::size_t>(size));
        rest_.remove_prefix(found.size());
        return found;
    }

    std::string_view rest_;
};

} // namespace gpsr::protobuf
