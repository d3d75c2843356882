// The spec inside an ONNX file, and what makes such a file unsafe: gpsr_deploy/model_files/onnx.py in C++, without a library
// for it.
#pragma once

#include "spec.hpp"

#include <string>
#include <string_view>

namespace gpsr {

// A checked model: its bytes can be handed to a runtime.
struct OnnxModel {
    std::string content;
    SRSpec spec;
    Costs costs;
};

// The model in the file at `path`. Throws Error: unreadable, or refused for one that is damaged, unsafe or not one of
// ours.
OnnxModel read_onnx(const std::string& path);

// What the model in `content` states of itself, once it is found to be safe and whole. Throws Error (refused).
void check_onnx(std::string_view content, SRSpec& spec, Costs& costs);

} // namespace gpsr
