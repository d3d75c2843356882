// A double of TensorRT's runtime: its network repeats each pixel `scale` times, and its plan says what else it does.
//
// scale=4 min=3x3 opt=48x60 max=96x120 batch=2, as of a sound engine; refuses=CALL, which then fails as the real one
// would; type=half; shape=wrong, a result of another size; result=nan.
#include "NvInfer.h"
#include "gpu.hpp"

#include <cstring>
#include <limits>
#include <sstream>

std::int32_t getInferLibVersion() noexcept {
    return static_cast<std::int32_t>(Gpu::setting("GPSR_DOUBLE_LIBRARY", NV_TENSORRT_VERSION));
}
std::int32_t getInferLibMajorVersion() noexcept { return getInferLibVersion() / 10000; }
std::int32_t getInferLibMinorVersion() noexcept { return getInferLibVersion() / 100 % 100; }
std::int32_t getInferLibPatchVersion() noexcept { return getInferLibVersion() % 100; }
std::int32_t getInferLibBuildVersion() noexcept { return 116; }

namespace nvinfer1 {

Counted::Counted(const char* kind) : kind_(kind) { ++gpu.objects[kind]; }
Counted::~Counted() { --gpu.objects[kind_]; }

Words::Words(const std::string& plan) {
    std::istringstream words(plan.substr(64));
    for (std::string word; words >> word;) {
        words_[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    }
}

std::string Words::word(const std::string& key) const {
    const auto found = words_.find(key);
    return found != words_.end() ? found->second : "";
}

Dims Words::dims(const std::string& key, std::int64_t number) const {
    const std::string size = word(key);
    return {4, {number, 3, std::stoll(size), std::stoll(size.substr(size.find('x') + 1)), 0, 0, 0, 0}};
}

namespace {

std::size_t floats(const Dims& shape) { return static_cast<std::size_t>(shape.d[0] * 3 * shape.d[2] * shape.d[3]); }

Dims larger(const Dims& shape, std::int64_t scale) {
    return {4, {shape.d[0], 3, shape.d[2] * scale, shape.d[3] * scale, 0, 0, 0, 0}};
}

} // namespace

IExecutionContext::~IExecutionContext() {
    for (const auto& [stream, queue] : gpu.queues) {
        if (!queue.empty()) {
            gpu.fault("a context died while its work is queued");
        }
    }
}

bool IExecutionContext::setInputShape(const char* name, const Dims& shape) noexcept {
    const Dims low = words_.dims("min", 1), high = words_.dims("max", std::stoll(words_.word("batch")));
    bool taken = std::string(name) == "lr" && !words_.refuses("setInputShape");
    for (int axis = 0; axis < 4; ++axis) {
        taken = taken && low.d[axis] <= shape.d[axis] && shape.d[axis] <= high.d[axis];
    }
    if (!taken) {
        log_.log(ILogger::Severity::kERROR, "the shape is outside the profile");
        return false;
    }
    shape_ = shape;
    scratch_ = nullptr;
    return true;
}

std::int32_t IExecutionContext::inferShapes(std::int32_t /*count*/, const char** /*names*/) noexcept {
    return words_.refuses("inferShapes") ? 1 : 0;
}

Dims IExecutionContext::getTensorShape(const char* name) const noexcept {
    const std::int64_t scale = std::stoll(words_.word("scale")) + (words_.word("shape") == "wrong" ? 1 : 0);
    return std::string(name) == "sr" ? larger(shape_, scale) : shape_;
}

std::size_t IExecutionContext::scratch() const { return 100 * floats(shape_); }

std::size_t IExecutionContext::updateDeviceMemorySizeForShapes() noexcept { return scratch(); }

void IExecutionContext::setDeviceMemoryV2(void* memory, std::int64_t size) noexcept {
    scratch_ = memory;
    scratch_bytes_ = static_cast<std::size_t>(size);
}

bool IExecutionContext::setTensorAddress(const char* name, void* memory) noexcept {
    addresses_[name] = memory;
    return !words_.refuses("setTensorAddress");
}

bool IExecutionContext::enqueueV3(cudaStream_t stream) noexcept {
    if (words_.refuses("enqueueV3") || scratch_ == nullptr || addresses_.size() != 2) {
        log_.log(ILogger::Severity::kERROR, "not everything is set");
        return false;
    }
    gpu.require_current("a run");
    const std::int64_t scale = std::stoll(words_.word("scale"));
    const Dims from = shape_, to = larger(shape_, scale);
    auto *lr = static_cast<float*>(addresses_["lr"]), *sr = static_cast<float*>(addresses_["sr"]);
    void* scratch = scratch_;
    const std::size_t bytes = this->scratch();
    gpu.require(lr, 4 * floats(from), true, "the engine reads beyond its input");
    gpu.require(sr, 4 * floats(to), true, "the engine writes beyond its output");
    gpu.require(scratch, bytes, true, "the engine has less scratch memory than it needs");
    const bool nan = words_.word("result") == "nan";
    gpu.queues.at(stream).push_back([=] {
        std::memset(scratch, 0xAA, bytes);
        for (std::int64_t plane = 0; plane < to.d[0] * 3; ++plane) {
            for (std::int64_t y = 0; y < to.d[2]; ++y) {
                for (std::int64_t x = 0; x < to.d[3]; ++x) {
                    sr[(plane * to.d[2] + y) * to.d[3] + x] =
                        lr[(plane * from.d[2] + y / scale) * from.d[3] + x / scale];
                }
            }
        }
        sr[0] = nan ? std::numeric_limits<float>::quiet_NaN() : sr[0];
    });
    return true;
}

std::int32_t ICudaEngine::getNbIOTensors() const noexcept { return words_.word("tensors") == "3" ? 3 : 2; }

const char* ICudaEngine::getIOTensorName(std::int32_t index) const noexcept {
    constexpr const char* names[] = {"lr", "sr", "features"};
    return names[index];
}

TensorIOMode ICudaEngine::getTensorIOMode(const char* name) const noexcept {
    return std::string(name) == "lr" ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
}

DataType ICudaEngine::getTensorDataType(const char* /*name*/) const noexcept {
    return words_.word("type") == "half" ? DataType::kHALF : DataType::kFLOAT;
}

TensorFormat ICudaEngine::getTensorFormat(const char* /*name*/) const noexcept { return TensorFormat::kLINEAR; }

Dims ICudaEngine::getProfileShape(const char* /*name*/, std::int32_t /*profile*/,
                                  OptProfileSelector which) const noexcept {
    const std::int64_t batch = std::stoll(words_.word("batch"));
    return which == OptProfileSelector::kMIN   ? words_.dims("min", 1)
           : which == OptProfileSelector::kOPT ? words_.dims("opt", 1)
                                               : words_.dims("max", batch);
}

IExecutionContext* ICudaEngine::createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept {
    if (strategy != ExecutionContextAllocationStrategy::kUSER_MANAGED) {
        gpu.fault("a context that takes memory of its own");
    }
    return words_.refuses("createExecutionContext") ? nullptr : new IExecutionContext(words_, log_);
}

#ifdef TRT_MAJOR_RTX
IRuntimeConfig* ICudaEngine::createRuntimeConfig() noexcept {
    return words_.refuses("createRuntimeConfig") ? nullptr : new IRuntimeConfig();
}

IExecutionContext* ICudaEngine::createExecutionContext(IRuntimeConfig* settings) noexcept {
    if (settings->kernels != DynamicShapesKernelSpecializationStrategy::kEAGER) {
        gpu.fault("kernels that change from run to run");
    }
    return createExecutionContext(settings->memory);
}
#endif

ICudaEngine* IRuntime::deserializeCudaEngine(const void* plan, std::size_t size) noexcept {
    const std::string content(static_cast<const char*>(plan), size);
    if (Words(content).refuses("deserializeCudaEngine")) {
        log_.log(ILogger::Severity::kERROR, "the plan is not for this library");
        return nullptr;
    }
    return new ICudaEngine(content, log_);
}

IRuntime* createInferRuntime(ILogger& log) noexcept {
    gpu.require_current("TensorRT");
    return Gpu::setting("GPSR_DOUBLE_NO_RUNTIME", 0) != 0 ? nullptr : new IRuntime(log);
}

} // namespace nvinfer1
