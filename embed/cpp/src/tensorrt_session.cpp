// A plan in TensorRT or TensorRT-RTX. Every answer of the library is looked at: most of its failures are silent.
#include "tensorrt_session.hpp"

#include <algorithm>

namespace gpsr {

namespace {

nvinfer1::Dims dims(std::int64_t number, std::int64_t height, std::int64_t width) {
    nvinfer1::Dims made{};
    made.nbDims = 4;
    const std::int64_t sides[] = {number, 3, height, width};
    for (int axis = 0; axis < 4; ++axis) {
        made.d[axis] = static_cast<std::remove_reference_t<decltype(made.d[0])>>(sides[axis]);
    }
    return made;
}

bool same(const nvinfer1::Dims& one, const nvinfer1::Dims& other) {
    return one.nbDims == other.nbDims && std::equal(one.d, one.d + std::clamp(one.nbDims, 0, 8), other.d);
}

std::string shown(const nvinfer1::Dims& shape) {
    std::string text;
    for (int axis = 0; axis < std::clamp(shape.nbDims, 0, 8); ++axis) {
        text += (text.empty() ? "" : "x") + std::to_string(shape.d[axis]);
    }
    return text;
}

} // namespace

const char* tensorrt_flavour() { return GPSR_WITH_TENSORRT; }

std::string tensorrt_version() {
    return std::to_string(getInferLibMajorVersion()) + "." + std::to_string(getInferLibMinorVersion()) + "." +
           std::to_string(getInferLibPatchVersion()) + "." + std::to_string(getInferLibBuildVersion());
}

void require_compiled_for_this() {
    if (getInferLibVersion() != NV_TENSORRT_VERSION) {
        throw refused("this gpsr was compiled with the headers of " + std::string(tensorrt_flavour()) + " " +
                          std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) + "." +
                          std::to_string(NV_TENSORRT_PATCH) + ", and found the library " + tensorrt_version(),
                      "headers and library of one release", "a build with -DGPSR_TENSORRT_ROOT=... of this release");
    }
}

void Session::Log::log(Severity severity, const char* message) noexcept {
    if (severity != Severity::kINTERNAL_ERROR && severity != Severity::kERROR) {
        return;
    }
    try {
        const std::lock_guard lock(mutex_);
        last_ = message != nullptr ? message : "";
    } catch (...) { // no memory for a message: the caller's error comes without it
    }
}

std::string Session::Log::last() const {
    const std::lock_guard lock(mutex_);
    return last_.empty() ? "it does not say why" : last_;
}

Session::Session(const std::string& plan, const EngineSpec& spec, const cuda::Gpu& gpu) {
    gpu.make_current();
    runtime_.reset(nvinfer1::createInferRuntime(log_));
    if (!runtime_) {
        throw failure("the library does not start");
    }
    engine_.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
    if (!engine_) {
        throw failure("the engine cannot be loaded", std::max(scarce, plan.size()));
    }
    context_ = context();
    if (!context_) {
        throw failure("the engine cannot be made ready to run");
    }
    ask(spec);
}

void Session::enqueue(const cuda::Stream& stream) {
    if (!context_->enqueueV3(stream.get())) {
        throw failure("the engine failed to run");
    }
}

void Session::clear() {
    bound_ = {};
    scratch_.clear();
}

Error Session::refusal(const std::string& found) const {
    return refused(found + ": " + log_.last(), "an engine that was built for this machine");
}

// As `refusal`, for what takes memory.
Error Session::failure(const std::string& found, std::size_t needs) const {
    return cuda::Gpu::lacks(needs)
               ? out_of_memory(found + ", with little memory left on the GPU", "", "a smaller --tile")
               : refusal(found);
}

std::unique_ptr<nvinfer1::IExecutionContext> Session::context() const {
    using Context = std::unique_ptr<nvinfer1::IExecutionContext>;
    constexpr auto ours = nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED;
#ifdef TRT_MAJOR_RTX
    const std::unique_ptr<nvinfer1::IRuntimeConfig> settings(engine_->createRuntimeConfig());
    if (!settings) {
        throw refusal("the engine cannot be configured");
    }
    settings->setExecutionContextAllocationStrategy(ours);
    static_cast<void>(
        settings->setCudaGraphStrategy(nvinfer1::CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE)); // only for speed
    // The default, lazy, changes kernels between two runs of one size, and with them the last bits of the result.
    settings->setDynamicShapesKernelSpecializationStrategy(nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
    return Context(engine_->createExecutionContext(settings.get()));
#else
    return Context(engine_->createExecutionContext(ours));
#endif
}

// Names, types, sizes and scale: what the engine says of itself has to be what its sidecar says.
void Session::ask(const EngineSpec& spec) {
    using nvinfer1::OptProfileSelector;
    int inputs = 0, outputs = 0;
    bool plain = true;
    std::string names;
    for (int index = 0; index < engine_->getNbIOTensors(); ++index) {
        const char* name = engine_->getIOTensorName(index);
        const bool in = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        (in ? inputs : outputs) += 1;
        (in ? input_ : output_) = name;
        names += (names.empty() ? "" : ", ") + std::string(name);
        plain = plain && engine_->getTensorDataType(name) == nvinfer1::DataType::kFLOAT &&
                engine_->getTensorFormat(name) == nvinfer1::TensorFormat::kLINEAR;
    }
    if (inputs != 1 || outputs != 1 || !plain) {
        throw refused("the engine's tensors are " + names, "one float32 input and output, row by row");
    }
    const auto& [low, best, high, batch] = spec.profile;
    const auto limit = [&](OptProfileSelector which) { return engine_->getProfileShape(input_.c_str(), 0, which); };
    const nvinfer1::Dims least = limit(OptProfileSelector::kMIN), at_best = limit(OptProfileSelector::kOPT),
                         most = limit(OptProfileSelector::kMAX);
    if (!same(least, dims(least.d[0], low.height, low.width)) ||
        !same(at_best, dims(at_best.d[0], best.height, best.width)) ||
        !same(most, dims(batch, high.height, high.width))) {
        throw refused("the engine takes " + shown(least) + " to " + shown(most) + ", at best " + shown(at_best),
                      shown(low) + " to " + shown(high) + ", at best " + shown(best) + ", as its sidecar says",
                      "build the engine again");
    }
    scale_ = spec.sr.scale;
    const nvinfer1::Dims result = result_of(at_best);
    if (!same(result, dims(at_best.d[0], best.height * scale_, best.width * scale_))) {
        throw refused("the engine gives " + shown(result) + " for " + shown(at_best),
                      std::to_string(scale_) + " times as large, as its sidecar says", "build the engine again");
    }
}

nvinfer1::Dims Session::result_of(const nvinfer1::Dims& shape) {
    bound_ = {};
    if (!context_->setInputShape(input_.c_str(), shape) || context_->inferShapes(0, nullptr) != 0) {
        throw refusal("the engine does not take " + shown(shape));
    }
    return context_->getTensorShape(output_.c_str());
}

void Session::bind(std::int64_t number, const Size& tile, void* lr, void* sr) {
    const nvinfer1::Dims shape = dims(number, tile.height, tile.width);
    if (!same(bound_, shape)) {
        const nvinfer1::Dims result = result_of(shape);
        if (!same(result,
                  dims(shape.d[0], shape.d[2] * scale_, shape.d[3] * scale_))) { // it would write beyond the result
            throw refused("the engine gives " + shown(result) + " for " + shown(shape),
                          std::to_string(scale_) + " times as large");
        }
        const std::size_t bytes = std::max<std::size_t>(context_->updateDeviceMemorySizeForShapes(), 1);
        context_->setDeviceMemoryV2(scratch_.of(bytes), static_cast<std::int64_t>(bytes));
        bound_ = shape;
    }
    if (!context_->setTensorAddress(input_.c_str(), lr) || !context_->setTensorAddress(output_.c_str(), sr)) {
        throw refusal("the engine does not take memory for its input and output");
    }
}

} // namespace gpsr
