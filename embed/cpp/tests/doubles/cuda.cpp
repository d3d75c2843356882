// A double of CUDA's runtime: memory is the host's, streams are queues, and the environment says what this GPU is like.
//
// GPSR_DOUBLE_STATUS: what asking for devices answers. _DEVICES: how many there are. _CAPABILITY: 89 is 8.9. _MEMORY:
// bytes. _LAUNCH: what waiting for a stream answers.
#include "gpu.hpp"

#include <cstdlib>
#include <cstring>

Gpu gpu;

long long Gpu::setting(const char* name, long long otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr ? std::atoll(value) : otherwise;
}

std::size_t Gpu::taken() const {
    std::size_t bytes = 0;
    for (const auto& [address, one] : memory) {
        bytes += one.device ? one.bytes : 0;
    }
    return bytes;
}

void Gpu::require_current(const std::string& what) {
    if (current != 0) { // which is where the tests open their engines
        fault(what + " while another GPU is current, or none");
    }
}

void Gpu::require(const void* address, std::size_t bytes, bool device, const std::string& what) {
    const auto* begin = static_cast<const std::byte*>(address);
    for (const auto& [start, one] : memory) {
        if (one.device == device && start <= begin && begin + bytes <= start + one.bytes) {
            return;
        }
    }
    fault(what);
}

namespace {

cudaError_t take(void** memory, std::size_t bytes, bool device) {
    const auto most = static_cast<std::size_t>(Gpu::setting("GPSR_DOUBLE_MEMORY", 1LL << 40));
    gpu.require_current("memory");
    if (device && gpu.taken() + bytes > most) {
        return cudaErrorMemoryAllocation;
    }
    auto* made = static_cast<std::byte*>(std::malloc(bytes));
    std::memset(made, 0xAA, bytes); // what lies in new memory is nobody's picture
    gpu.memory[made] = {bytes, device};
    *memory = made;
    return cudaSuccess;
}

cudaError_t give(void* memory, bool device) {
    const auto found = gpu.memory.find(static_cast<std::byte*>(memory));
    if (found == gpu.memory.end() || found->second.device != device) {
        gpu.fault("memory freed twice, or as another kind");
        return cudaErrorInvalidValue;
    }
    for (const auto& [stream, queue] : gpu.queues) {
        if (!queue.empty()) {
            gpu.fault("memory freed while work is queued");
        }
    }
    gpu.memory.erase(found);
    std::free(memory);
    return cudaSuccess;
}

} // namespace

cudaError_t cudaGetDeviceCount(int* count) {
    *count = static_cast<int>(Gpu::setting("GPSR_DOUBLE_DEVICES", 1));
    return static_cast<cudaError_t>(Gpu::setting("GPSR_DOUBLE_STATUS", cudaSuccess));
}

cudaError_t cudaSetDevice(int device) {
    gpu.current = device;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
    const auto capability = static_cast<int>(Gpu::setting("GPSR_DOUBLE_CAPABILITY", 89));
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? capability / 10 : capability % 10;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    *total = static_cast<std::size_t>(Gpu::setting("GPSR_DOUBLE_MEMORY", 1LL << 40));
    *free = *total - gpu.taken();
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
    *stream = reinterpret_cast<cudaStream_t>(std::malloc(1));
    gpu.queues[*stream] = {};
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    if (gpu.queues.count(stream) == 0 || !gpu.queues[stream].empty()) {
        gpu.fault("a stream destroyed twice, or with work in it");
    }
    gpu.queues.erase(stream);
    std::free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    for (const auto& work : gpu.queues.at(stream)) {
        work();
    }
    gpu.queues[stream].clear();
    return static_cast<cudaError_t>(Gpu::setting("GPSR_DOUBLE_LAUNCH", cudaSuccess));
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) { return take(memory, bytes, true); }
cudaError_t cudaFree(void* memory) { return give(memory, true); }
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned /*flags*/) { return take(memory, bytes, false); }
cudaError_t cudaFreeHost(void* memory) { return give(memory, false); }

cudaError_t cudaMemcpyAsync(void* target, const void* source, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    gpu.require(target, bytes, kind == cudaMemcpyHostToDevice, "a copy to no such memory");
    gpu.require(source, bytes, kind == cudaMemcpyDeviceToHost, "a copy from no such memory");
    gpu.require_current("a copy");
    gpu.queues.at(stream).push_back([=] { std::memcpy(target, source, bytes); });
    return cudaSuccess;
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

const char* cudaGetErrorName(cudaError_t status) {
    return status == cudaErrorLaunchFailure ? "cudaErrorLaunchFailure" : "cudaErrorOther";
}

// For the test: what was done wrong since it last asked, one line, and what is left, which after the last model is
// closed is nothing.
extern "C" __attribute__((visibility("default"))) const char* double_faults() {
    static std::string line;
    line.clear();
    for (const auto& fault : gpu.faults) {
        line += fault + "; ";
    }
    gpu.faults.clear();
    gpu.current = -1;
    return line.c_str();
}

// As if this thread had used another GPU meanwhile.
extern "C" __attribute__((visibility("default"))) void double_select(int device) { gpu.current = device; }

extern "C" __attribute__((visibility("default"))) long long double_leftovers() {
    long long left = static_cast<long long>(gpu.memory.size() + gpu.queues.size());
    for (const auto& [kind, count] : gpu.objects) {
        left += count;
    }
    return left;
}
