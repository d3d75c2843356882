// PNG of 8 or 16 bits, grey or colour, without alpha and metadata.
#include "failure.hpp"
#include "pixels.hpp"
#include "png_pixels.h"

#include <algorithm>
#include <cstring>

Pixels read_png(const std::string& path, const std::vector<std::uint8_t>& file) {
    png_pixels header;
    const auto failed = [&](const std::string& why) { return Failure(unreadable, path, why); };
    if (png_pixels_header(&header, file.data(), file.size(), max_side) == 0) {
        throw failed(printable(header.reason) + ". Expected a whole PNG.");
    }
    if (std::int64_t{header.height} * header.width > max_pixels) {
        throw failed("the header claims " + std::to_string(header.height) + "x" + std::to_string(header.width) +
                     " pixels.");
    }
    if (header.channels != 1 && header.channels != 3) {
        throw failed(
            "the picture has alpha, which this example does not carry. Expected grey or RGB. Try: gpsr-trt infer.");
    }
    Pixels pixels;
    pixels.height = header.height;
    pixels.width = header.width;
    pixels.channels = header.channels;
    pixels.type = header.sample_bytes;
    pixels.samples.resize(pixels.row_bytes() * header.height);
    if (png_pixels_read(&header, file.data(), file.size(), max_side, pixels.samples.data()) == 0) {
        throw failed(printable(header.reason) + ". Expected a whole PNG.");
    }
    return pixels;
}

std::vector<std::uint8_t> png_bytes(const Pixels& pixels) {
    png_pixels header{};
    header.height = static_cast<std::uint32_t>(pixels.height);
    header.width = static_cast<std::uint32_t>(pixels.width);
    header.channels = pixels.channels;
    header.sample_bytes = pixels.type;
    std::vector<std::uint8_t> file;
    const auto add = [](void* user, const std::uint8_t* bytes, std::size_t size) noexcept {
        try {
            auto& made = *static_cast<std::vector<std::uint8_t>*>(user);
            made.insert(made.end(), bytes, bytes + size);
            return 1;
        } catch (const std::bad_alloc&) { // which must not pass through libpng
            return 0;
        }
    };
    if (png_pixels_write(&header, pixels.samples.data(), add, &file) == 0) {
        throw Failure(out_of_memory, "", printable(header.reason) + ".");
    }
    return file;
}
