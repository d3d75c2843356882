// The spec inside an ONNX file, and what makes such a file unsafe: gpsr_deploy/model_files/onnx.py in C++, without a
// library for it.
#pragma once

#include "spec.hpp"

#include <string>
#include <string_view>

namespace gpsr {

// What a model states of itself.
struct Stated {
    SRSpec spec;
    Costs costs;
    Quality quality; // says nothing of a precision that nobody has measured
};

// A checked model: its bytes can be handed to a runtime.
struct OnnxModel {
    std::string content;
    Stated stated;
};

// The model in the file at `path`. Throws Error: unreadable, or refused for one that is damaged, unsafe or not one of
// ours.
OnnxModel read_onnx(const std::string& path);

// What the model in `content` states of itself, once it is found to be safe and whole. Throws Error (refused).
Stated check_onnx(std::string_view content);

} // namespace gpsr
