// Engines in TensorRT or TensorRT-RTX, on one GPU.
#pragma once

#include "backend.hpp"
#include "engine_file.hpp"

#include <memory>

namespace gpsr {

// Loads an engine that `read_engine` found to be whole, onto GPU `index`. CUDA is asked before TensorRT is touched.
// Throws Error: refused, out_of_memory.
std::unique_ptr<Backend> open_tensorrt(Engine engine, int index);

} // namespace gpsr
