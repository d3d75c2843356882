// The only loop over tiles, with the rules of gpsr_deploy/upscaling/upscale.py.
#include "upscale.hpp"

#include "error.hpp"
#include "machine.hpp"

#include <algorithm>
#include <new>

namespace gpsr {

namespace {

// Bytes that tiles in work may take when nothing else is asked: the same as in Python, so that the tiles are the same.
constexpr std::int64_t working_memory = std::int64_t{340} << 20U;

// LR pixels per side that a tile keeps at least: below, almost all work would be overlap.
constexpr std::int64_t smallest_keep = 24;

// How often a tile is halved when memory runs out.
constexpr int max_halvings = 6;

bool within(const TilePlan& plan, const std::optional<Profile>& profile) {
    return !profile || profile->takes(plan.tile());
}

Size chosen_tile(const Facts& facts, const Size& picture, const Tiling& tiling, std::int64_t halo, std::int64_t at_once,
                 std::optional<std::int64_t> available) {
    const std::int64_t step = facts.spec.multiple_of;
    if (tiling.tile) {
        const std::int64_t smallest = round_up(2 * halo + smallest_keep, step);
        return {std::max(round_up(tiling.tile->height, step), smallest),
                std::max(round_up(tiling.tile->width, step), smallest)};
    }
    if (facts.profile) {
        return facts.profile->opt;
    }
    const std::int64_t budget = std::min(working_memory, available.value_or(2 * working_memory) / 2);
    return fit(picture, halo, step, budget / (facts.bytes_per_pixel * at_once), smallest_keep);
}

// `plan` with the longer side of its tiles halved; none where that would keep too little or not fit the engine.
std::optional<TilePlan> halved(const Facts& facts, const TilePlan& plan, std::int64_t halo) {
    if (facts.spec.tiling == "whole") {
        return std::nullopt;
    }
    const Size tile = plan.tile();
    const std::int64_t step = facts.spec.multiple_of, longer = std::max(tile.height, tile.width);
    const std::int64_t half = std::min(longer, round_up(std::max(longer / 2, 2 * halo + smallest_keep), step));
    const Size smaller = tile.height == longer ? Size{half, tile.width} : Size{tile.height, half};
    auto made = gpsr::plan(plan.picture, smaller, halo, step);
    return smaller == tile || !within(made, facts.profile) ? std::nullopt : std::make_optional(std::move(made));
}

void tell(const Progress& progress, std::int64_t done, std::int64_t total) {
    if (progress && !progress(done, total)) {
        throw Error(Code::cancelled,
                    "cancelled after " + std::to_string(done) + " of " + std::to_string(total) + " tiles");
    }
}

void run(Backend& backend, const Picture& lr, const Picture& sr, const Cut& cut, const Progress& progress) {
    const std::int64_t scale = backend.facts().spec.scale, total = cut.plan.count();
    const Size tile = cut.plan.tile();
    const std::int64_t read = 3 * tile.height * tile.width, made = read * scale * scale;
    tell(progress, 0, total);
    for (std::int64_t first = 0; first < total; first += cut.at_once) {
        const std::int64_t number = std::min(cut.at_once, total - first);
        float* batch = backend.room(number, tile);
        for (std::int64_t index = 0; index < number; ++index) {
            read_tile(lr, cut.plan.row(first + index), cut.plan.col(first + index), batch + index * read);
        }
        const float* results = backend.infer();
        for (std::int64_t index = 0; index < number; ++index) {
            const Span &row = cut.plan.row(first + index), &col = cut.plan.col(first + index);
            const float* result = results + index * made;
            if (!all_finite(result, made)) {
                throw refused("the network gave NaN or infinity in the tile at row " + std::to_string(row.start) +
                                  ", column " + std::to_string(col.start) + " (LR pixels)",
                              "finite pixels", "the fp32 model");
            }
            paste(result, row, col, scale, sr);
        }
        tell(progress, first + number, total);
    }
}

} // namespace

Cut cut_for(const Facts& facts, const Size& picture, const Tiling& tiling, std::optional<std::int64_t> available) {
    const std::int64_t step = facts.spec.multiple_of;
    const std::int64_t most = facts.profile ? facts.profile->batch : tiling.batch.value_or(1);
    const std::int64_t at_once = std::min(tiling.batch.value_or(most), most);
    std::int64_t halo = tiling.halo ? round_up(*tiling.halo, step) : facts.spec.halo;
    TilePlan made;
    if (tiling.whole || facts.spec.tiling == "whole") {
        made = whole(picture, step);
        halo = 0;
    } else {
        made = plan(picture, chosen_tile(facts, picture, tiling, halo, at_once, available), halo, step);
    }
    if (!within(made, facts.profile)) {
        throw refused("a tile of " + shown(made.tile()),
                      shown(facts.profile->min) + " to " + shown(facts.profile->max) + ", as the engine was built",
                      "another --tile, or an engine of another profile");
    }
    return {std::move(made), halo, at_once};
}

void upscale(Backend& backend, const Picture& lr, const Picture& sr, const Tiling& tiling, const Progress& progress) {
    require_sane(lr);
    Cut cut = cut_for(backend.facts(), lr.size, tiling, available_memory());
    for (int halvings = 0;;) {
        try {
            return run(backend, lr, sr, cut, progress);
        } catch (const std::bad_alloc&) {
        } catch (const Error& error) {
            if (error.code != Code::out_of_memory) {
                throw;
            }
        }
        backend.give_back();
        if (cut.at_once > 1) {
            cut.at_once = std::max<std::int64_t>(std::min(cut.at_once, cut.plan.count()) / 2, 1);
            continue;
        }
        auto smaller =
            tiling.whole || halvings == max_halvings ? std::nullopt : halved(backend.facts(), cut.plan, cut.halo);
        if (!smaller) {
            throw out_of_memory("no memory for a tile of " + shown(cut.plan.tile()) + " LR pixels", "",
                                tiling.whole ? "tiles instead of --no-tile"
                                             : "a smaller picture, or a machine with more memory");
        }
        cut.plan = std::move(*smaller);
        ++halvings;
    }
}

} // namespace gpsr
