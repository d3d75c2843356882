// The only loop over tiles: a picture in, its super-resolution out. LR pixels become SR pixels here and in picture.cpp.
#pragma once

#include "backend.hpp"
#include "picture.hpp"
#include "tiles.hpp"

#include <cstdint>
#include <functional>
#include <optional>

namespace gpsr {

// How the user wants a picture cut; none: chosen by the network and the memory at hand.
struct Tiling {
    std::optional<Size> tile;          // LR pixels, halo included; rounded up to what the network needs
    std::optional<std::int64_t> halo;  // LR pixels of context per side, rounded up likewise
    bool whole = false;                // the picture in one piece
    std::optional<std::int64_t> batch; // tiles per run; none: as many as the engine was built for, else one
};

// How a picture will be cut.
struct Cut {
    TilePlan plan;
    std::int64_t halo;    // LR pixels
    std::int64_t at_once; // tiles per run
};

// Told (tiles done, tiles in all); false cancels.
using Progress = std::function<bool(std::int64_t, std::int64_t)>;

// The cut for a picture of this size. `available` is free memory in bytes, none where nobody knows. Throws Error:
// usage, or refused for a tile that the engine does not take.
Cut cut_for(const Facts& facts, const Size& picture, const Tiling& tiling, std::optional<std::int64_t> available);

// `lr` enlarged into `sr`, which has its type and channels and `scale` times its size.
//
// Where memory runs out the batch is halved down to one tile, then the tile, up to six times, and the picture begun
// anew, so that the result is that of a run at the smaller tile. Throws Error: usage, out_of_memory, refused (also for
// NaN), cancelled.
void upscale(Backend& backend, const Picture& lr, const Picture& sr, const Tiling& tiling, const Progress& progress);

} // namespace gpsr
