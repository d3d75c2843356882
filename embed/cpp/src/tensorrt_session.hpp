// A plan in TensorRT or TensorRT-RTX: loaded, asked what it takes, and put into a stream. Knows addresses, no pictures.
//
// Which of the two it is was decided when this was compiled: they have the same names, and no program can hold both.
#pragma once

#include "cuda.hpp"
#include "spec.hpp"

#include <NvInfer.h>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace gpsr {

// The flavour, as sidecars name it, and the version of the library that is loaded, four numbers.
const char* tensorrt_flavour();
std::string tensorrt_version();

// Throws Error (refused) where the library that is loaded is not the one whose headers this was compiled with: its
// objects would be others.
void require_compiled_for_this();

// One engine and its execution context. Scratch memory is ours, so that a smaller tile takes less of it.
class Session {
  public:
    // Deserialises `plan`, which is trusted like a program. Throws Error: refused, also where the engine is not what
    // `spec` says of it, or out_of_memory.
    Session(const std::string& plan, const EngineSpec& spec, const cuda::Gpu& gpu);

    // Makes ready for batches of `number` tiles from the device address `lr` to `sr`. Nothing may be queued. Throws
    // Error: refused or out_of_memory.
    void bind(std::int64_t number, const Size& tile, void* lr, void* sr);

    // Queues one run of what is bound. Throws Error: refused or out_of_memory.
    void enqueue(const cuda::Stream& stream);

    // Gives scratch memory up. The stream has to be done.
    void clear();

  private:
    // Keeps what went wrong, and prints nothing. TensorRT may call from threads of its own.
    class Log final : public nvinfer1::ILogger {
      public:
        void log(Severity severity, const char* message) noexcept override;
        std::string last() const;

      private:
        mutable std::mutex mutex_;
        std::string last_;
    };

    Error refusal(const std::string& found) const;
    Error failure(const std::string& found, std::size_t needs = scarce) const;
    std::unique_ptr<nvinfer1::IExecutionContext> context() const;
    void ask(const EngineSpec& spec);
    nvinfer1::Dims result_of(const nvinfer1::Dims& shape);

    // Bytes free on the GPU below which a failure of the library is taken for a lack of memory, which it does not tell.
    static constexpr std::size_t scarce = std::size_t{64} << 20U;

    Log log_; // in this order: each is used by those after it
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    cuda::DeviceRoom scratch_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    std::string input_, output_;
    std::int64_t scale_ = 0;
    nvinfer1::Dims bound_{};
};

} // namespace gpsr
