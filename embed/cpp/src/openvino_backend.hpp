// ONNX models in OpenVINO, on the CPU.
#pragma once

#include "backend.hpp"
#include "onnx_file.hpp"

#include <memory>

namespace gpsr {

// Reads the model. `threads` of the CPU, 0: all; `precision` as in precision.hpp. Throws Error: usage, refused.
std::unique_ptr<Backend> open_openvino(OnnxModel model, std::int32_t threads, const std::string& precision);

} // namespace gpsr
