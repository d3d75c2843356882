// A network that is ready to run: what the tile loop knows of a runtime.
#pragma once

#include "spec.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace gpsr {

// What there is to know of a backend before it runs.
struct Facts {
    SRSpec spec;
    std::optional<Profile> profile; // none: any multiple of `spec.multiple_of`
    std::int64_t bytes_per_pixel{}; // working memory of a run per LR pixel of a batch, estimated
    std::string runtime;            // openvino, tensorrt, tensorrt-rtx
    std::string device;             // cpu, cuda:0
    std::string precision;          // what it computes in: fp32, fp16, bf16, int8
};

// One model in one runtime, for one thread at a time. A batch is float32 NCHW RGB in [0, 1], whatever the engine
// computes in.
class Backend {
  public:
    Backend() = default;
    Backend(const Backend&) = delete;
    Backend& operator=(const Backend&) = delete;
    virtual ~Backend() = default;

    virtual const Facts& facts() const = 0;

    // Memory for a batch of `number` tiles, (number, 3, height, width), to be filled; it stands until the next call.
    // Throws Error (out_of_memory, or refused for a size that the engine does not take) or std::bad_alloc.
    virtual float* room(std::int64_t number, const Size& tile) = 0;

    // Runs what was put into `room`: (number, 3, height * scale, width * scale), which stands until the next call.
    // Throws Error: out_of_memory or refused.
    virtual const float* infer() = 0;

    // Gives memory of batches back, which is kept otherwise: after out_of_memory, before less is asked for.
    virtual void give_back() = 0;
};

} // namespace gpsr
