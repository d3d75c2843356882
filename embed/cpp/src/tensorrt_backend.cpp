// Engines in TensorRT or TensorRT-RTX: batches go in and out through pinned memory, in one stream.
#include "tensorrt_backend.hpp"

#include "cuda.hpp"
#include "tensorrt_session.hpp"

namespace gpsr {

namespace {

class TensorRt final : public Backend {
  public:
    TensorRt(Engine engine, int index)
        : gpu_(index), facts_{engine.spec.sr,
                              engine.spec.profile,
                              engine.spec.costs.activation_bytes,
                              engine.spec.runtime,
                              "cuda:" + std::to_string(index),
                              engine.spec.sr.dtype} {
        require_compiled_for_this();
        require_runnable(engine.spec, tensorrt_flavour(), tensorrt_version(), gpu_.compute_capability());
        stream_ = std::make_unique<cuda::Stream>();
        session_ = std::make_unique<Session>(engine.plan, engine.spec, gpu_);
    }

    TensorRt(const TensorRt&) = delete;
    TensorRt& operator=(const TensorRt&) = delete;
    ~TensorRt() override { drain(); }

    const Facts& facts() const override { return facts_; }

    float* room(std::int64_t number, const Size& tile) override {
        const std::int64_t step = facts_.spec.multiple_of;
        const Profile& profile = *facts_.profile;
        if (number < 1 || number > profile.batch || !profile.takes(tile) || tile.height % step != 0 ||
            tile.width % step != 0) {
            throw refused("a batch of " + std::to_string(number) + " x " + shown(tile),
                          "1 to " + std::to_string(profile.batch) + " x " + shown(profile.min) + " to " +
                              shown(profile.max) + ", as it was built",
                          "another --tile, or an engine of another profile");
        }
        gpu_.make_current();
        number_ = number;
        tile_ = tile;
        lr_bytes_ = static_cast<std::size_t>(number * 3 * tile.height * tile.width) * sizeof(float);
        sr_bytes_ = lr_bytes_ * static_cast<std::size_t>(facts_.spec.scale * facts_.spec.scale);
        lr_.of(lr_bytes_);
        sr_.of(sr_bytes_);
        sr_pinned_.of(sr_bytes_);
        return static_cast<float*>(lr_pinned_.of(lr_bytes_));
    }

    const float* infer() override {
        gpu_.make_current();
        try {
            session_->bind(number_, tile_, lr_.get(), sr_.get());
            stream_->copy(lr_.get(), lr_pinned_.get(), lr_bytes_, cudaMemcpyHostToDevice);
            session_->enqueue(*stream_);
            stream_->copy(sr_pinned_.get(), sr_.get(), sr_bytes_, cudaMemcpyDeviceToHost);
            stream_->synchronize();
        } catch (const Error&) {
            drain(); // nothing may still read or write memory that is used again
            throw;
        }
        return static_cast<const float*>(sr_pinned_.get());
    }

    void give_back() override {
        drain();
        lr_.clear();
        sr_.clear();
        lr_pinned_.clear();
        sr_pinned_.clear();
        session_->clear();
    }

  private:
    // Waits for whatever is queued; a failure there has been told already, or is about to be.
    void drain() noexcept {
        if (stream_ && cudaSetDevice(gpu_.index()) == cudaSuccess) {
            static_cast<void>(cudaStreamSynchronize(stream_->get()));
        }
    }

    cuda::Gpu gpu_;
    Facts facts_;
    std::unique_ptr<cuda::Stream> stream_; // in this order: each is used by those after it
    cuda::DeviceRoom lr_, sr_;
    cuda::PinnedRoom lr_pinned_, sr_pinned_;
    std::unique_ptr<Session> session_;
    std::int64_t number_ = 0;
    Size tile_;
    std::size_t lr_bytes_ = 0, sr_bytes_ = 0;
};

} // namespace

std::unique_ptr<Backend> open_tensorrt(Engine engine, int index) {
    return std::make_unique<TensorRt>(std::move(engine), index);
}

} // namespace gpsr
