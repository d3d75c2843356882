// Tile geometry, step by step as gpsr_deploy/upscaling/tiles.py.
#include "tiles.hpp"

#include "error.hpp"

#include <algorithm>

namespace gpsr {

namespace {

std::int64_t divided_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

struct Counted {
    std::int64_t tile, count;
};

// How many tiles of a size cover `length`: those of 1, 2, 3 ... equal shares, none below `smallest`, each size once.
std::vector<Counted> equal_tiles(std::int64_t length, std::int64_t smallest, std::int64_t halo,
                                 std::int64_t multiple_of) {
    const std::int64_t padded = round_up(length, multiple_of);
    std::vector<Counted> counts{{padded, 1}};
    for (std::int64_t shares = 2; shares <= padded / multiple_of; ++shares) {
        const std::int64_t tile = round_up(divided_up(padded + 2 * halo * (shares - 1), shares), multiple_of);
        if (tile < smallest) {
            break; // more shares are smaller still
        }
        if (tile < counts.back().tile) {
            counts.push_back({tile, divided_up(padded - 2 * halo, tile - 2 * halo)});
        }
    }
    return counts;
}

} // namespace

std::int64_t round_up(std::int64_t value, std::int64_t multiple_of) {
    return divided_up(value, multiple_of) * multiple_of;
}

std::vector<Span> plan_axis(std::int64_t length, std::int64_t tile, std::int64_t halo, std::int64_t multiple_of) {
    const std::string sizes = "tile " + std::to_string(tile);
    if (length < 1 || halo < 0 || tile < 1) {
        throw usage("length " + std::to_string(length) + ", " + sizes + ", overlap " + std::to_string(halo),
                    "positive sizes");
    }
    if (tile % multiple_of != 0 || halo % multiple_of != 0) {
        throw usage(sizes + " with overlap " + std::to_string(halo), "multiples of " + std::to_string(multiple_of));
    }
    const std::int64_t padded = round_up(length, multiple_of);
    if (tile >= padded) {
        return {{0, padded, 0, length}};
    }
    const std::int64_t stride = tile - 2 * halo;
    if (stride < multiple_of) {
        throw usage(
            "a tile of " + std::to_string(tile) + " with an overlap of " + std::to_string(halo) + " keeps nothing",
            "a tile of at least " + std::to_string(2 * halo + multiple_of), "a larger --tile or a smaller --overlap");
    }
    const std::int64_t last = padded - tile;
    std::vector<Span> spans;
    for (std::int64_t start = 0; start < last; start += stride) {
        const std::int64_t begin = spans.empty() ? 0 : spans.back().keep_stop;
        spans.push_back({start, start + tile, begin, start + tile - halo});
    }
    const std::int64_t begin = spans.back().keep_stop;
    spans.push_back({last, padded, begin, length});
    return spans;
}

TilePlan plan(const Size& picture, const Size& tile, std::int64_t halo, std::int64_t multiple_of) {
    return {picture, plan_axis(picture.height, tile.height, halo, multiple_of),
            plan_axis(picture.width, tile.width, halo, multiple_of)};
}

TilePlan whole(const Size& picture, std::int64_t multiple_of) {
    return plan(picture, {round_up(picture.height, multiple_of), round_up(picture.width, multiple_of)}, 0, multiple_of);
}

Size fit(const Size& picture, std::int64_t halo, std::int64_t multiple_of, std::int64_t max_pixels,
         std::int64_t min_keep) {
    const std::int64_t smallest = round_up(2 * halo + min_keep, multiple_of);
    const auto heights = equal_tiles(picture.height, smallest, halo, multiple_of);
    const auto widths = equal_tiles(picture.width, smallest, halo, multiple_of);
    Size best{std::min(smallest, heights.front().tile), std::min(smallest, widths.front().tile)};
    double fewest = -1; // pixels read; a double, since whoever asks for sides of 2^30 shall get an answer
    for (const auto& high : heights) {
        for (const auto& wide : widths) {
            if (high.tile > max_pixels / wide.tile) {
                continue;
            }
            const double pixels =
                static_cast<double>(high.count * high.tile) * static_cast<double>(wide.count * wide.tile);
            if (fewest < 0 || pixels < fewest) {
                fewest = pixels;
                best = {high.tile, wide.tile};
            }
        }
    }
    return best;
}

} // namespace gpsr
