// A double of TensorRT's runtime for tests: the names that the library uses. What an engine is like stands in its plan.
#pragma once

#include "cuda_runtime_api.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#ifdef TRT_MAJOR_RTX
#define NV_TENSORRT_MAJOR 1
#define NV_TENSORRT_MINOR 7
#define NV_TENSORRT_PATCH 1
#else
#define NV_TENSORRT_MAJOR 11
#define NV_TENSORRT_MINOR 1
#define NV_TENSORRT_PATCH 0
#endif
#define NV_TENSORRT_VERSION (NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH)

extern "C" std::int32_t getInferLibVersion() noexcept;
extern "C" std::int32_t getInferLibMajorVersion() noexcept;
extern "C" std::int32_t getInferLibMinorVersion() noexcept;
extern "C" std::int32_t getInferLibPatchVersion() noexcept;
extern "C" std::int32_t getInferLibBuildVersion() noexcept;

namespace nvinfer1 {

struct Dims {
    std::int32_t nbDims;
    std::int64_t d[8];
};

enum class DataType : std::int32_t { kFLOAT, kHALF };
enum class TensorFormat : std::int32_t { kLINEAR, kCHW2 };
enum class TensorIOMode : std::int32_t { kNONE, kINPUT, kOUTPUT };
enum class OptProfileSelector : std::int32_t { kMIN, kOPT, kMAX };
enum class ExecutionContextAllocationStrategy : std::int32_t { kSTATIC, kON_PROFILE_CHANGE, kUSER_MANAGED };

class ILogger {
  public:
    enum class Severity : std::int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
    virtual void log(Severity severity, const char* message) noexcept = 0;
    virtual ~ILogger() = default;
};

// Counts itself among the objects that are alive.
class Counted {
  public:
    explicit Counted(const char* kind);
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted();

  private:
    const char* kind_;
};

// The words `key=value` of a plan after its header.
class Words {
  public:
    explicit Words(const std::string& plan);
    std::string word(const std::string& key) const;
    Dims dims(const std::string& key, std::int64_t number) const;
    bool refuses(const std::string& call) const { return word("refuses") == call; }

  private:
    std::map<std::string, std::string> words_;
};

class IExecutionContext : Counted {
  public:
    IExecutionContext(const Words& words, ILogger& log) : Counted("context"), words_(words), log_(log) {}
    ~IExecutionContext();
    bool setInputShape(const char* name, const Dims& shape) noexcept;
    std::int32_t inferShapes(std::int32_t count, const char** names) noexcept;
    Dims getTensorShape(const char* name) const noexcept;
    std::size_t updateDeviceMemorySizeForShapes() noexcept;
    void setDeviceMemoryV2(void* memory, std::int64_t size) noexcept;
    bool setTensorAddress(const char* name, void* memory) noexcept;
    bool enqueueV3(cudaStream_t stream) noexcept;

  private:
    std::size_t scratch() const;

    const Words& words_;
    ILogger& log_;
    Dims shape_{};
    std::map<std::string, void*> addresses_;
    void* scratch_ = nullptr;
    std::size_t scratch_bytes_ = 0;
};

#ifdef TRT_MAJOR_RTX
enum class CudaGraphStrategy : std::int32_t { kDISABLED, kWHOLE_GRAPH_CAPTURE };
enum class DynamicShapesKernelSpecializationStrategy : std::int32_t { kLAZY, kEAGER, kNONE };

class IRuntimeConfig : Counted {
  public:
    IRuntimeConfig() : Counted("settings") {}
    void setExecutionContextAllocationStrategy(ExecutionContextAllocationStrategy strategy) noexcept {
        memory = strategy;
    }
    bool setCudaGraphStrategy(CudaGraphStrategy) noexcept { return true; }
    void setDynamicShapesKernelSpecializationStrategy(DynamicShapesKernelSpecializationStrategy strategy) noexcept {
        kernels = strategy;
    }

    ExecutionContextAllocationStrategy memory = ExecutionContextAllocationStrategy::kSTATIC;
    DynamicShapesKernelSpecializationStrategy kernels = DynamicShapesKernelSpecializationStrategy::kLAZY;
};
#endif

class ICudaEngine : Counted {
  public:
    ICudaEngine(const std::string& plan, ILogger& log) : Counted("engine"), words_(plan), log_(log) {}
    std::int32_t getNbIOTensors() const noexcept;
    const char* getIOTensorName(std::int32_t index) const noexcept;
    TensorIOMode getTensorIOMode(const char* name) const noexcept;
    DataType getTensorDataType(const char* name) const noexcept;
    TensorFormat getTensorFormat(const char* name) const noexcept;
    Dims getProfileShape(const char* name, std::int32_t profile, OptProfileSelector which) const noexcept;
    IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept;
#ifdef TRT_MAJOR_RTX
    IRuntimeConfig* createRuntimeConfig() noexcept;
    IExecutionContext* createExecutionContext(IRuntimeConfig* settings) noexcept;
#endif

  private:
    Words words_;
    ILogger& log_;
};

class IRuntime : Counted {
  public:
    explicit IRuntime(ILogger& log) : Counted("runtime"), log_(log) {}
    ICudaEngine* deserializeCudaEngine(const void* plan, std::size_t size) noexcept;

  private:
    ILogger& log_;
};

IRuntime* createInferRuntime(ILogger& log) noexcept;

} // namespace nvinfer1
