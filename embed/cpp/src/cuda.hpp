// The CUDA calls that an engine needs: memory, a stream, a GPU. Every status goes through one `check`.
#pragma once

#include "error.hpp"

#include <cstdint>
#include <cuda_runtime_api.h>
#include <memory>
#include <string>

namespace gpsr::cuda {

// Throws Error for a call that failed: out_of_memory, or refused for anything else.
inline void check(cudaError_t status) {
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError(); // or the next call that asks for the last error gets this one
        throw out_of_memory("CUDA has no memory left, of the GPU's or pinned of the host's", "", "a smaller --tile");
    }
    if (status != cudaSuccess) {
        throw refused(std::string("CUDA failed with ") + cudaGetErrorName(status), "a GPU that works");
    }
}

template <auto free>
struct Freed {
    template <class Thing>
    void operator()(Thing* thing) const {
        static_cast<void>(free(thing));
    }
};

// A GPU that is there.
class Gpu {
  public:
    // Throws Error (refused) where there is no driver or no such GPU. To be called before TensorRT is touched: its
    // runtime crashes the process where there is no driver.
    explicit Gpu(int index) : index_(index) {
        constexpr auto remedy = "the .onnx that it was built from, which runs in OpenVINO on a CPU";
        int count = 0;
        const cudaError_t status = cudaGetDeviceCount(&count);
        if (status == cudaErrorInsufficientDriver || status == cudaErrorNoDevice ||
            (status == cudaSuccess && count == 0)) {
            throw refused("no CUDA device", "an NVIDIA GPU with its driver", remedy);
        }
        if (status != cudaSuccess) {
            throw refused(std::string("CUDA failed with ") + cudaGetErrorName(status),
                          "a GPU and a driver that belong together", remedy);
        }
        if (index >= count) {
            throw refused("no GPU " + std::to_string(index), "cuda:0 to cuda:" + std::to_string(count - 1),
                          "--device cuda");
        }
        make_current();
    }

    // Makes this GPU the current one of the calling thread, which may be another than before.
    void make_current() const { check(cudaSetDevice(index_)); }

    int index() const { return index_; }

    // Like 8.9.
    std::string compute_capability() const {
        int major = 0, minor = 0;
        check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index_));
        check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index_));
        return std::to_string(major) + "." + std::to_string(minor);
    }

    // Whether fewer than `bytes` are free on the GPU. One that answers nothing any more is not short of memory.
    static bool lacks(std::size_t bytes) {
        std::size_t free = 0, total = 0;
        return cudaMemGetInfo(&free, &total) == cudaSuccess && free < bytes;
    }

  private:
    int index_;
};

// A queue of work on the GPU, which does not wait for the default one.
class Stream {
  public:
    Stream() {
        cudaStream_t made = nullptr;
        check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
        stream_.reset(made);
    }

    cudaStream_t get() const { return stream_.get(); }

    // Queues a copy between pinned host memory and device memory.
    void copy(void* target, const void* source, std::size_t bytes, cudaMemcpyKind direction) const {
        check(cudaMemcpyAsync(target, source, bytes, direction, stream_.get()));
    }

    // Waits until all that is queued is done.
    void synchronize() const { check(cudaStreamSynchronize(stream_.get())); }

  private:
    std::unique_ptr<CUstream_st, Freed<cudaStreamDestroy>> stream_;
};

// Memory of one kind that grows as it is asked for more, and is used again. Whoever lets it grow has let go of it.
template <auto take, auto free>
class Room {
  public:
    // At least `bytes`; what lay there before may be gone. Throws Error (out_of_memory).
    void* of(std::size_t bytes) {
        if (!memory_ || size_ < bytes) {
            clear();
            void* made = nullptr;
            check(take(&made, bytes));
            memory_.reset(made);
            size_ = bytes;
        }
        return memory_.get();
    }

    void* get() const { return memory_.get(); }

    void clear() {
        memory_.reset();
        size_ = 0;
    }

  private:
    std::unique_ptr<void, Freed<free>> memory_;
    std::size_t size_ = 0;
};

inline cudaError_t take_device(void** memory, std::size_t bytes) { return cudaMalloc(memory, bytes); }
inline cudaError_t take_pinned(void** memory, std::size_t bytes) {
    return cudaHostAlloc(memory, bytes, cudaHostAllocDefault);
}

using DeviceRoom = Room<take_device, cudaFree>;
using PinnedRoom = Room<take_pinned, cudaFreeHost>;

} // namespace gpsr::cuda
