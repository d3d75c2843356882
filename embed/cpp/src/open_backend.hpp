// A model file and a device in, something that runs batches out.
#pragma once

#include "backend.hpp"

#include <memory>
#include <string>

namespace gpsr {

// How to open a model. Zeros: any scale, all cores.
struct OpenOptions {
    std::string device = "auto"; // auto, cpu, cuda or cuda:INDEX
    std::int32_t scale = 0;
    std::int32_t threads = 0;
    std::string precision = "auto"; // auto, fp32, fp16, bf16 or int8
};

// A backend for the model in `path`, whose kind picks the runtime. Throws Error: usage, unreadable, refused,
// out_of_memory.
std::unique_ptr<Backend> open_backend(const std::string& path, const OpenOptions& options);

// Names of the runtimes that this library was built with, separated by spaces.
const char* built_in_runtimes();

} // namespace gpsr
