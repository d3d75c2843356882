// Tile geometry: gpsr_deploy/upscaling/tiles.py in C++, pure, in LR pixels. No pictures, no I/O.
#pragma once

#include "spec.hpp"

#include <cstdint>
#include <vector>

namespace gpsr {

// One tile along one axis: it reads [start, stop) and its part [keep_start, keep_stop) reaches the output.
struct Span {
    std::int64_t start, stop, keep_start, keep_stop;
};

// How a picture is cut: every row span with every column span is one tile, row by row from the top.
//
// All tiles have one size, every start is a multiple of the network's, and the keeps partition the picture. Spans may
// end beyond the picture, up to the next multiple: the caller pads there by replication.
struct TilePlan {
    Size picture;
    std::vector<Span> rows, cols;

    Size tile() const { return {rows.front().stop - rows.front().start, cols.front().stop - cols.front().start}; }
    std::int64_t count() const { return static_cast<std::int64_t>(rows.size() * cols.size()); }
    const Span& row(std::int64_t index) const { return rows[static_cast<std::size_t>(index) / cols.size()]; }
    const Span& col(std::int64_t index) const { return cols[static_cast<std::size_t>(index) % cols.size()]; }
};

// The smallest multiple of `multiple_of` that is not below `value`.
std::int64_t round_up(std::int64_t value, std::int64_t multiple_of);

// Cuts [0, length) into spans of `tile` with `halo` of context on each inner side.
//
// The last tile moves inward so that it ends at the (rounded up) edge. Throws Error (usage) where the sizes are no
// multiples of `multiple_of`, or where a tile of this size would be all halo.
std::vector<Span> plan_axis(std::int64_t length, std::int64_t tile, std::int64_t halo, std::int64_t multiple_of);

// The plan of a whole picture.
TilePlan plan(const Size& picture, const Size& tile, std::int64_t halo, std::int64_t multiple_of);

// The plan of one tile that is the picture.
TilePlan whole(const Size& picture, std::int64_t multiple_of);

// The size of tiles of at most `max_pixels` that reads the fewest pixels in all.
//
// A tile keeps at least `min_keep` pixels a side. Where not even the smallest such tile fits, that one is returned: the
// caller learns from the run whether it does.
Size fit(const Size& picture, std::int64_t halo, std::int64_t multiple_of, std::int64_t max_pixels,
         std::int64_t min_keep);

} // namespace gpsr
