// A picture in memory, as its file has it.
#pragma once

#include <cstdint>
#include <gpsr/gpsr.hpp>
#include <string>
#include <vector>

struct Pixels {
    std::int64_t height = 0, width = 0;
    int channels = 3;                    // or 1 for grey
    gpsr_type type = GPSR_U8;            // or GPSR_U16, in the machine's byte order
    std::vector<std::uint8_t> samples{}; // row by row, interleaved

    std::size_t row_bytes() const { return static_cast<std::size_t>(width * channels * type); }

    gpsr_picture picture() {
        gpsr_picture made = gpsr::picture(samples.data(), height, width, channels);
        made.type = type;
        return made;
    }
};

// What an input may claim: a header costs nothing to forge.
constexpr std::int64_t max_pixels = 1 << 28, max_side = 1 << 17;

// Formats of picture files. Each `read_` throws Failure (unreadable), each `_bytes` gives a whole file.
Pixels read_pnm(const std::string& path, const std::vector<std::uint8_t>& file);
std::vector<std::uint8_t> pnm_bytes(const Pixels& pixels);
Pixels read_png(const std::string& path, const std::vector<std::uint8_t>& file);
std::vector<std::uint8_t> png_bytes(const Pixels& pixels);
