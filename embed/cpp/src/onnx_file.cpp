// The spec inside an ONNX file, and the file's checksum over itself.
#include "onnx_file.hpp"

#include "error.hpp"
#include "model_file.hpp"
#include "onnx_graph.hpp"
#include "protobuf.hpp"
#include "sha256.hpp"

#include <array>
#include <optional>

namespace gpsr {

namespace {

using protobuf::Field;
using protobuf::Reader;
using protobuf::Wire;

constexpr std::uint64_t max_onnx_bytes = std::uint64_t{2} << 30U; // protocol buffers end here

Error not_ours(std::string found) {
    return refused(std::move(found), "a model that export/to_onnx.py wrote", "export it again with export/to_onnx.py");
}

// What stands at the top of a model. Views into the file's content.
struct Top {
    std::string_view producer;
    std::optional<std::string_view> graph, spec, costs, quality, checksum;
};

void note(Top& top, std::string_view entry) {
    std::string_view key, value;
    Field field;
    for (Reader reader(entry); reader.next(field);) {
        if (field.is(1, Wire::bytes)) {
            key = field.bytes;
        } else if (field.is(2, Wire::bytes)) {
            value = field.bytes;
        }
    }
    auto* place = key == "gpsr.spec"      ? &top.spec
                  : key == "gpsr.costs"   ? &top.costs
                  : key == "gpsr.quality" ? &top.quality
                  : key == "gpsr.sha256"  ? &top.checksum
                                          : nullptr;
    if (place == nullptr) {
        throw not_ours("the model's metadata holds '" + std::string(key) + "'");
    }
    if (place->has_value()) {
        throw not_ours("the model's metadata says a thing twice");
    }
    *place = value;
}

Top top_of(std::string_view content) {
    Top top;
    Field field;
    for (Reader reader(content); reader.next(field);) {
        if (field.is(2, Wire::bytes)) {
            top.producer = field.bytes;
        } else if (field.is(7, Wire::bytes)) {
            if (top.graph) {
                throw protobuf::Damaged{}; // of two, readers make one
            }
            top.graph = field.bytes;
        } else if (field.is(14, Wire::bytes)) {
            note(top, field.bytes);
        } else if (field.is(20, Wire::bytes)) {
            throw not_ours("the model holds a training graph");
        } else if (field.is(25, Wire::bytes)) {
            throw refused("the model defines functions of its own", "standard operators");
        }
    }
    return top;
}

// SHA-256 of the file with the digits that lie at `place` replaced by zeros.
std::string sum_without(std::string_view content, std::string_view place) {
    constexpr std::string_view zeros = "0000000000000000000000000000000000000000000000000000000000000000";
    const auto begin = static_cast<std::size_t>(place.data() - content.data());
    Sha256 sum;
    sum.add(content.substr(0, begin));
    sum.add(zeros);
    sum.add(content.substr(begin + place.size()));
    return sum.digest();
}

void check_sum(std::string_view content, std::string_view stated) {
    if (!is_sha256(stated) || sum_without(content, stated) != stated) { // what is no sum may lie nowhere at all
        throw refused("the file is not as it was written: its checksum does not hold",
                      "SHA-256 " + std::string(stated.substr(0, 16)) + "..., as it states itself",
                      "fetch or export it again");
    }
}

// What `read` makes of the text under `key`.
template <class Read>
auto stated(const Read& read, std::string_view text, const char* key) {
    try {
        return read(text);
    } catch (const Error&) {
        throw not_ours(std::string("the model's ") + key + " is garbled");
    }
}

} // namespace

OnnxModel read_onnx(const std::string& path) {
    OnnxModel model;
    model.content = read_file(path, max_onnx_bytes);
    try {
        model.stated = check_onnx(model.content);
    } catch (const Error& error) {
        throw error.at(path);
    }
    return model;
}

Stated check_onnx(std::string_view content) {
    try {
        const Top top = top_of(content);
        if (!top.graph) {
            throw not_ours("the file holds no graph");
        }
        if (!top.spec || !top.costs) {
            throw not_ours("the model carries no gpsr.spec");
        }
        if (top.checksum) {
            check_sum(content, *top.checksum);
        } else if (top.producer == "gpsr-deploy") {
            throw not_ours("the file lost its checksum, so it is damaged");
        }
        check_graph(*top.graph);
        return {sr_spec(*top.spec), stated(costs, *top.costs, "gpsr.costs"),
                top.quality ? stated(quality, *top.quality, "gpsr.quality") : Quality{}};
    } catch (const protobuf::Damaged&) {
        throw not_ours("this is no ONNX file, or a damaged one");
    }
}

} // namespace gpsr
