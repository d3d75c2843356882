// ONNX models in OpenVINO, on the CPU.
#pragma once

#include "backend.hpp"
#include "onnx_file.hpp"

#include <memory>

namespace gpsr {

// Compiles the model, in float32. `threads` of the CPU, 0: all. Throws Error (refused).
std::unique_ptr<Backend> open_openvino(OnnxModel model, std::int32_t threads);

} // namespace gpsr
