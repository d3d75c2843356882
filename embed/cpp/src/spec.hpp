// What a network or an engine does, as values that come out of JSON: gpsr_deploy/spec.py in C++, and as strict. No I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gpsr {

struct Size {
    std::int64_t height = 0, width = 0;
};

inline bool operator==(const Size& one, const Size& other) {
    return one.height == other.height && one.width == other.width;
}

inline std::string shown(const Size& size) { return std::to_string(size.height) + "x" + std::to_string(size.width); }

// What a super-resolution network does.
struct SRSpec {
    std::string name;
    std::int64_t scale = 0;       // SR pixels per LR pixel and axis: 2, 4, 8 or 16
    std::int64_t halo = 0;        // LR pixels of context per side of a tile, a multiple of `multiple_of`
    std::int64_t multiple_of = 0; // LR pixels; sizes of batches and places of tiles are multiples of it
    std::string tiling;           // aligned, or whole: the network needs the whole picture at once
    std::string dtype;            // what its file holds it in: fp32, fp16 or int8
    std::string checkpoint_sha256;
};

// What running a network costs, counted from its graph when it was exported.
struct Costs {
    std::int64_t params = 0;
    double macs_720p = 0;              // multiply-adds of all convolutions for one 1280x720 SR picture
    std::int64_t activation_bytes = 0; // largest sum of float32 tensors that are alive at once, per LR pixel
};

// PSNR, in dB, that a lower precision may cost where nobody asked for it.
inline constexpr double max_loss_db = 0.05;

// What lower precisions cost of a model's quality, measured where its file was made.
struct Quality {
    std::vector<std::pair<std::string, double>> loss_db; // PSNR that is lost to the fp32 model: of bf16, of int8
    std::vector<std::string> float_layers;               // convolutions of an int8 model that stay in floating point

    // Whether this precision was measured, and loses no more than `max_loss_db`.
    bool keeps(std::string_view precision) const;
};

// The batches an engine takes: sizes in LR pixels between `min` and `max`, at best `opt`; up to `batch` at once.
struct Profile {
    Size min, opt, max;
    std::int64_t batch = 0;

    bool takes(const Size& size) const {
        return min.height <= size.height && size.height <= max.height && min.width <= size.width &&
               size.width <= max.width;
    }
};

// How far an engine is from the ONNX model that it was built from.
struct Parity {
    std::int64_t images = 0;
    std::optional<double> psnr_db; // none: all values are equal
    std::int64_t max_level = 0;
    double share_off_by_one = 0;
    std::string gpu;
};

// What a built engine is, for what and from what: the sidecar of a plan.
struct EngineSpec {
    SRSpec sr;
    Costs costs;
    Profile profile;
    std::string runtime;                                 // tensorrt or tensorrt-rtx
    std::string runtime_version;                         // four numbers
    std::vector<std::string> compute_capabilities;       // of the GPUs it was built for: 8.9
    std::vector<std::pair<std::string, double>> weights; // share of the convolutions' weights by type
    std::string plan_sha256;
    std::string onnx_sha256;
    std::optional<Parity> parity; // none: not compared yet
};

// What the text holds. Throws Error (refused) for anything but one JSON object of exactly these fields, all in their
// ranges.
SRSpec sr_spec(std::string_view text);
Costs costs(std::string_view text);
Quality quality(std::string_view text);
EngineSpec engine_spec(std::string_view text);

} // namespace gpsr
