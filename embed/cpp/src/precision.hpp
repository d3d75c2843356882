// What a model is computed in, where that is asked for or left open: gpsr_deploy/backends/choice.py in C++. No I/O.
#pragma once

#include "spec.hpp"

#include <string>

namespace gpsr {

// Throws Error (usage) for what is no precision, and not auto.
void require_precision(const std::string& asked);

// What OpenVINO runs an ONNX model in whose file holds it in `dtype`. `asked` is a precision or auto, the fastest that
// keeps the model's quality; `has_bf16`: the processor multiplies bfloat16. Throws Error: usage for what the file has
// not, refused for what the processor has not.
std::string precision_for(const std::string& dtype, const Quality& quality, const std::string& asked, bool has_bf16);

// Throws Error (usage) where an engine is to run in another precision than the one that it was built in.
void require_own_precision(const SRSpec& engine, const std::string& asked);

} // namespace gpsr
