// Interleaved pixels to planes of floats and back: gpsr_deploy/upscaling/upscale.py's arithmetic, to the last bit.
#pragma once

#include "spec.hpp"
#include "tiles.hpp"

#include <cstddef>
#include <cstdint>

namespace gpsr {

// Of one sample; the value is its size in bytes.
enum class Type : std::uint8_t { u8 = 1, u16 = 2, f32 = 4 };

// A view of somebody's pixels, checked: rows of `size.width * channels` samples that are `stride` bytes apart.
struct Picture {
    std::byte* pixels;
    Size size;
    std::ptrdiff_t stride; // bytes; negative for rows from below
    Type type;
    int channels; // 3, or 1 for grey
    bool bgr;
};

// Throws Error (usage) for a float picture whose values are far from [0, 1], or NaN.
void require_sane(const Picture& lr);

// Writes one tile of `lr` to `planes`, (3, h, w) in [0, 1]; beyond the picture's edge its last pixel is repeated.
void read_tile(const Picture& lr, const Span& row, const Span& col, float* planes);

// Whether all `count` values are finite.
bool all_finite(const float* values, std::int64_t count);

// Writes the part of one result that is kept, `planes` being (3, h * scale, w * scale) in [0, 1], into `sr`; a grey
// picture takes the mean of RGB.
void paste(const float* planes, const Span& row, const Span& col, std::int64_t scale, const Picture& sr);

} // namespace gpsr
