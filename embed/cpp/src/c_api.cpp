// The C interface over the library: checks what callers hand over, and lets no exception out.
#include "error.hpp"
#include "machine.hpp"
#include "open_backend.hpp"
#include "upscale.hpp"

#include <algorithm>
#include <cstring>
#include <gpsr/gpsr.h>
#include <limits>
#include <memory>
#include <new>

struct gpsr_model {
    std::unique_ptr<gpsr::Backend> backend; // none: it could not be opened
    std::string error;
};

namespace {

using gpsr::Code;
using gpsr::Error;
using gpsr::usage;

constexpr std::int64_t max_side = 1 << 20; // LR pixels; above, sums of sizes would need a closer look
constexpr std::int64_t max_batch = 1024;

// What the caller's structure holds, by a version of it that is ours: of a shorter one the rest is zero, and what a
// longer one holds beyond ours has to be zero.
template <class Struct>
Struct ours(const Struct* theirs, const char* name) {
    Struct found{};
    if (theirs == nullptr) {
        return found;
    }
    const std::size_t size = theirs->struct_size;
    if (size < sizeof theirs->struct_size || size > 4096) {
        throw usage(std::string(name) + ".struct_size is " + std::to_string(size), "sizeof(" + std::string(name) + ")");
    }
    std::memcpy(static_cast<void*>(&found), theirs, std::min(size, sizeof found));
    const auto* bytes = reinterpret_cast<const unsigned char*>(theirs);
    if (size > sizeof found && std::any_of(bytes + sizeof found, bytes + size, [](auto byte) { return byte != 0; })) {
        throw usage("options of a newer gpsr than " + std::string(gpsr_version()), "a library as new as its header");
    }
    return found;
}

// Fills the caller's structure, as much as it has of ours.
template <class Struct>
void give(Struct* theirs, Struct made, const char* name) {
    if (theirs == nullptr || theirs->struct_size < sizeof theirs->struct_size) {
        throw usage(std::string("no ") + name, "one whose struct_size is set");
    }
    made.struct_size = theirs->struct_size;
    std::memcpy(static_cast<void*>(theirs), &made, std::min(theirs->struct_size, sizeof made));
}

std::int64_t within(std::int64_t value, std::int64_t least, std::int64_t most, const char* name) {
    if (value < least || value > most) {
        throw usage(std::string(name) + " is " + std::to_string(value),
                    std::to_string(least) + " to " + std::to_string(most));
    }
    return value;
}

gpsr::Picture picture_of(const gpsr_picture* theirs, const char* name, std::int64_t most) {
    const gpsr_picture given = ours(theirs, "gpsr_picture");
    const auto wrong = [&](const std::string& found, const char* expected) {
        return usage(name + (" has " + found), expected);
    };
    if (given.pixels == nullptr) {
        throw wrong("no pixels", "a pointer to them");
    }
    if (given.type != GPSR_U8 && given.type != GPSR_U16 && given.type != GPSR_F32) {
        throw wrong("type " + std::to_string(given.type), "GPSR_U8, GPSR_U16 or GPSR_F32");
    }
    if (given.channels != 1 && given.channels != 3) {
        throw wrong(std::to_string(given.channels) + " channels", "3, or 1 for grey");
    }
    if (given.order != GPSR_RGB && given.order != GPSR_BGR) {
        throw wrong("order " + std::to_string(given.order), "GPSR_RGB or GPSR_BGR");
    }
    if (given.reserved != 0) {
        throw wrong("a field set that means nothing yet", "zero");
    }
    const gpsr::Size size{within(given.height, 1, most, "height"), within(given.width, 1, most, "width")};
    const std::int64_t row = size.width * given.channels * given.type;
    const std::int64_t stride = given.stride == 0 ? row : given.stride;
    if (stride == std::numeric_limits<std::int64_t>::min() || std::abs(stride) < row ||
        std::abs(stride) > (1LL << 36) || stride % given.type != 0 ||
        reinterpret_cast<std::uintptr_t>(given.pixels) % static_cast<unsigned>(given.type) != 0) {
        throw wrong("a stride of " + std::to_string(stride) + " bytes",
                    "at least a row, in whole samples, and aligned pixels");
    }
    return {static_cast<std::byte*>(given.pixels), size,           static_cast<std::ptrdiff_t>(stride),
            static_cast<gpsr::Type>(given.type),   given.channels, given.order == GPSR_BGR};
}

gpsr::Tiling tiling_of(const gpsr_run_options& options) {
    gpsr::Tiling tiling;
    if (options.tile_height != 0 || options.tile_width != 0) {
        tiling.tile = gpsr::Size{within(options.tile_height, 1, max_side, "tile_height"),
                                 within(options.tile_width, 1, max_side, "tile_width")};
    }
    if (options.has_halo != 0) {
        tiling.halo = within(options.halo, 0, max_side, "halo");
    }
    if (options.batch != 0) {
        tiling.batch = within(options.batch, 1, max_batch, "batch");
    }
    tiling.whole = options.whole != 0;
    return tiling;
}

gpsr::Backend& backend_of(const gpsr_model& model) {
    if (!model.backend) {
        throw usage("the model could not be opened", "one that was");
    }
    return *model.backend;
}

// Runs `work`; what it throws becomes a status, and words in the model.
template <class Work>
gpsr_status guarded(gpsr_model* model, const Work& work) noexcept {
    const auto failed = [&](const Error& error) noexcept {
        try {
            model->error = error.line();
        } catch (...) {
            model->error.clear(); // no memory for words
        }
        return static_cast<gpsr_status>(error.code);
    };
    if (model == nullptr) {
        return GPSR_USAGE;
    }
    try {
        try {
            model->error.clear();
            work();
            return GPSR_OK;
        } catch (const Error& error) {
            return failed(error);
        } catch (const std::bad_alloc&) {
            return failed(gpsr::out_of_memory("no memory left"));
        } catch (const std::exception& error) {
            return failed(Error(Code::bug, std::string("a bug of ours (") + error.what() + ")"));
        }
    } catch (...) { // no memory for the error itself
        model->error.clear();
        return GPSR_OUT_OF_MEMORY;
    }
}

} // namespace

const char* gpsr_version(void) { return GPSR_VERSION; }

const char* gpsr_runtimes(void) { return gpsr::built_in_runtimes(); }

gpsr_status gpsr_open(const char* path, const gpsr_open_options* options, gpsr_model** model) {
    if (model == nullptr) {
        return GPSR_USAGE;
    }
    *model = nullptr;
    try {
        *model = std::make_unique<gpsr_model>().release();
    } catch (...) {
        return GPSR_OUT_OF_MEMORY;
    }
    return guarded(*model, [&] {
        if (path == nullptr) {
            throw usage("no path", "one of an .onnx or .plan file");
        }
        const gpsr_open_options given = ours(options, "gpsr_open_options");
        gpsr::OpenOptions wanted;
        wanted.device = given.device != nullptr ? given.device : "auto";
        wanted.scale = static_cast<std::int32_t>(within(given.scale, 0, 16, "scale"));
        wanted.threads = static_cast<std::int32_t>(within(given.threads, 0, 4096, "threads"));
        wanted.precision = given.precision != nullptr ? given.precision : "auto";
        (*model)->backend = gpsr::open_backend(path, wanted);
    });
}

void gpsr_close(gpsr_model* model) { const std::unique_ptr<gpsr_model> owned(model); }

const char* gpsr_error(const gpsr_model* model) { return model != nullptr ? model->error.c_str() : ""; }

gpsr_status gpsr_get_spec(gpsr_model* model, gpsr_spec* spec) {
    return guarded(model, [&] {
        const gpsr::Facts& facts = backend_of(*model).facts();
        const auto number = [](std::int64_t value) { return static_cast<std::int32_t>(value); };
        gpsr_spec made{};
        made.name = facts.spec.name.c_str();
        made.runtime = facts.runtime.c_str();
        made.device = facts.device.c_str();
        made.dtype = facts.spec.dtype.c_str();
        made.checkpoint_sha256 = facts.spec.checkpoint_sha256.c_str();
        made.scale = number(facts.spec.scale);
        made.halo = number(facts.spec.halo);
        made.multiple_of = number(facts.spec.multiple_of);
        made.precision = facts.precision.c_str();
        made.tileable = facts.spec.tiling != "whole" ? 1 : 0;
        if (facts.profile) {
            const auto& [low, best, high, batch] = *facts.profile;
            made.has_profile = 1;
            made.min_height = number(low.height);
            made.min_width = number(low.width);
            made.opt_height = number(best.height);
            made.opt_width = number(best.width);
            made.max_height = number(high.height);
            made.max_width = number(high.width);
            made.batch = number(batch);
        }
        give(spec, made, "gpsr_spec");
    });
}

gpsr_status gpsr_get_cut(gpsr_model* model, int64_t height, int64_t width, const gpsr_run_options* options,
                         gpsr_cut* cut) {
    return guarded(model, [&] {
        const gpsr::Size picture{within(height, 1, max_side, "height"), within(width, 1, max_side, "width")};
        const gpsr::Tiling tiling = tiling_of(ours(options, "gpsr_run_options"));
        const gpsr::Cut found = gpsr::cut_for(backend_of(*model).facts(), picture, tiling, gpsr::available_memory());
        const gpsr::Size tile = found.plan.tile();
        give(cut, {0, found.plan.count(), tile.height, tile.width, found.halo}, "gpsr_cut");
    });
}

gpsr_status gpsr_upscale(gpsr_model* model, const gpsr_picture* lr, const gpsr_picture* sr,
                         const gpsr_run_options* options) {
    return guarded(model, [&] {
        gpsr::Backend& backend = backend_of(*model);
        const std::int64_t scale = backend.facts().spec.scale;
        const gpsr_run_options given = ours(options, "gpsr_run_options");
        const gpsr::Picture from = picture_of(lr, "lr", max_side), to = picture_of(sr, "sr", max_side * scale);
        const gpsr::Size expected{from.size.height * scale, from.size.width * scale};
        if (!(to.size == expected) || to.type != from.type || to.channels != from.channels) {
            throw usage("sr is " + shown(to.size) + " with " + std::to_string(to.channels) + " channels of " +
                            std::to_string(static_cast<int>(to.type)) + " bytes",
                        shown(expected) + ", and lr's channels and type");
        }
        gpsr::Progress progress;
        if (given.progress != nullptr) {
            progress = [&](std::int64_t done, std::int64_t total) {
                return given.progress(given.user, done, total) == 0;
            };
        }
        upscale(backend, from, to, tiling_of(given), progress);
    });
}
