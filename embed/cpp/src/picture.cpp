// Interleaved pixels to planes of floats and back, row by row.
#include "picture.hpp"

#include "error.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

namespace gpsr {

namespace {

template <class Sample>
constexpr float peak() {
    return std::is_same_v<Sample, float> ? 1.0F : static_cast<float>(std::numeric_limits<Sample>::max());
}

template <class Sample>
Sample* row_of(const Picture& picture, std::int64_t row) {
    return reinterpret_cast<Sample*>(picture.pixels + row * picture.stride);
}

// Calls `work` with a value of the type of the picture's samples.
template <class Work>
void for_type(Type type, const Work& work) {
    switch (type) {
    case Type::u8:
        return work(std::uint8_t{});
    case Type::u16:
        return work(std::uint16_t{});
    case Type::f32:
        return work(float{});
    }
}

template <class Sample>
void read_samples(const Picture& lr, const Span& row, const Span& col, float* planes) {
    const std::int64_t height = row.stop - row.start, width = col.stop - col.start, plane = height * width;
    const std::int64_t inside = std::min(col.stop, lr.size.width) - col.start;
    const int channels = lr.channels;
    for (std::int64_t y = 0; y < height; ++y) {
        const Sample* from = row_of<Sample>(lr, std::min(row.start + y, lr.size.height - 1)) + col.start * channels;
        for (int channel = 0; channel < 3; ++channel) {
            const Sample* sample = from + (channels == 1 ? 0 : lr.bgr ? 2 - channel : channel);
            float* to = planes + channel * plane + y * width;
            for (std::int64_t x = 0; x < inside; ++x) {
                to[x] = static_cast<float>(sample[x * channels]) / peak<Sample>();
            }
            std::fill(to + inside, to + width, to[inside - 1]);
        }
    }
}

template <class Sample>
Sample sample_of(float value) {
    const float clipped = std::min(std::max(value, 0.0F), 1.0F);
    if constexpr (std::is_same_v<Sample, float>) {
        return clipped;
    } else { // the whole part, which with the half added is rounding
        return static_cast<Sample>(static_cast<std::int32_t>(clipped * peak<Sample>() + 0.5F));
    }
}

template <class Sample>
void paste_samples(const float* planes, const Span& row, const Span& col, std::int64_t scale, const Picture& sr) {
    const std::int64_t stride = (col.stop - col.start) * scale, plane = (row.stop - row.start) * scale * stride;
    const std::int64_t left = (col.keep_start - col.start) * scale, width = (col.keep_stop - col.keep_start) * scale;
    for (std::int64_t y = row.keep_start * scale; y < row.keep_stop * scale; ++y) {
        const float* from = planes + (y - row.start * scale) * stride + left;
        Sample* to = row_of<Sample>(sr, y) + col.keep_start * scale * sr.channels;
        if (sr.channels == 1) {
            for (std::int64_t x = 0; x < width; ++x) {
                to[x] = sample_of<Sample>((from[x] + from[x + plane] + from[x + 2 * plane]) / 3.0F);
            }
            continue;
        }
        const float* first = from + (sr.bgr ? 2 * plane : 0);
        const float* last = from + (sr.bgr ? 0 : 2 * plane);
        for (std::int64_t x = 0; x < width; ++x) {
            to[3 * x] = sample_of<Sample>(first[x]);
            to[3 * x + 1] = sample_of<Sample>(from[x + plane]);
            to[3 * x + 2] = sample_of<Sample>(last[x]);
        }
    }
}

} // namespace

void require_sane(const Picture& lr) {
    if (lr.type != Type::f32) {
        return;
    }
    float low = *row_of<float>(lr, 0), high = low;
    bool numbers = true;
    for (std::int64_t y = 0; y < lr.size.height; ++y) {
        const float* row = row_of<float>(lr, y);
        for (std::int64_t x = 0; x < lr.size.width * lr.channels; ++x) {
            numbers = numbers && !std::isnan(row[x]);
            low = std::min(low, row[x]);
            high = std::max(high, row[x]);
        }
    }
    if (!numbers || low < -1 || high > 2) { // resampled pictures overshoot [0, 1] a little
        throw usage(numbers ? "values from " + std::to_string(low) + " to " + std::to_string(high)
                            : "values that are no numbers",
                    "floats in [0, 1], or 8 or 16 bits");
    }
}

void read_tile(const Picture& lr, const Span& row, const Span& col, float* planes) {
    for_type(lr.type, [&](auto sample) { read_samples<decltype(sample)>(lr, row, col, planes); });
}

bool all_finite(const float* values, std::int64_t count) {
    std::uint32_t worst = 0; // the largest exponent: all ones for infinity and NaN
    for (std::int64_t index = 0; index < count; ++index) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, values + index, sizeof bits);
        worst = std::max(worst, bits & 0x7F800000U);
    }
    return worst != 0x7F800000U;
}

void paste(const float* planes, const Span& row, const Span& col, std::int64_t scale, const Picture& sr) {
    for_type(sr.type, [&](auto sample) { paste_samples<decltype(sample)>(planes, row, col, scale, sr); });
}

} // namespace gpsr
