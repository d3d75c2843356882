// A plan and its sidecar, and what makes an engine unusable here: gpsr_deploy/model_files/engine.py in C++. Needs no TensorRT,
// no GPU.
//
// A plan is native code to whoever deserialises it: nothing does before `read_engine` has found its SHA-256 in the
// sidecar.
#pragma once

#include "spec.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace gpsr {

// A plan that is as it was built, and what it is.
struct Engine {
    std::string plan;
    EngineSpec spec;
};

// The engine at `path`: plan and sidecar (`path` and .json), found to belong together. Throws Error: unreadable for a
// plan that is missing, refused for one that is damaged or no plan, and for a sidecar that is missing, hostile or
// another's.
Engine read_engine(const std::string& path);

// Throws Error (refused) where an engine is for another scale than `scale`. 0: any.
void require_scale(const EngineSpec& spec, std::int64_t scale);

// Throws Error (refused) where an engine cannot run in this TensorRT or on this GPU. `runtime` and `version` (four
// numbers) are the library's, `compute_capability` this GPU's, like 8.9.
void require_runnable(const EngineSpec& spec, std::string_view runtime, std::string_view version,
                      const std::string& compute_capability);

// The command that builds the engine again, for `gpu` where it was not for that; of a sidecar's words only a plain name
// gets into it.
std::string rebuild(const EngineSpec& spec, const std::string& gpu = {});

} // namespace gpsr
