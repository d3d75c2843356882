// What the doubles of CUDA and TensorRT share: one GPU, its memory, and what was done that no document allows.
#pragma once

#include "cuda_runtime_api.h"

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

struct Memory {
    std::size_t bytes;
    bool device;
};

struct Gpu {
    std::map<std::byte*, Memory> memory;
    std::map<cudaStream_t, std::vector<std::function<void()>>> queues; // work runs when something waits for it
    std::map<std::string, int> objects;                                // of TensorRT, by kind, that are alive
    std::vector<std::string> faults;
    int current = -1;

    // A number that the test sets in the environment.
    static long long setting(const char* name, long long otherwise);

    std::size_t taken() const;
    void fault(const std::string& what) { faults.push_back(what); }

    // Notes a fault where another GPU than that of the tests' engines is current.
    void require_current(const std::string& what);

    // Notes a fault where `bytes` from `address` on are no memory of this kind.
    void require(const void* address, std::size_t bytes, bool device, const std::string& what);
};

extern Gpu gpu;
