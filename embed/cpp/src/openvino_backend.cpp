// ONNX models in OpenVINO, through its C interface, whose ABI stays from release to release.
#include "openvino_backend.hpp"

#include "error.hpp"
#include "machine.hpp"

#include <array>
#include <openvino/c/openvino.h>
#include <vector>

namespace gpsr {

namespace {

// Process memory that one byte of live activations costs; measured for the Python backend, which has the same library
// below.
constexpr double pool_overhead = 2.5;

template <auto free>
struct Freed {
    template <class Thing>
    void operator()(Thing* thing) const {
        free(thing);
    }
};

using Core = std::unique_ptr<ov_core_t, Freed<ov_core_free>>;
using Model = std::unique_ptr<ov_model_t, Freed<ov_model_free>>;
using Compiled = std::unique_ptr<ov_compiled_model_t, Freed<ov_compiled_model_free>>;
using Request = std::unique_ptr<ov_infer_request_t, Freed<ov_infer_request_free>>;
using Tensor = std::unique_ptr<ov_tensor_t, Freed<ov_tensor_free>>;

// What OpenVINO had to say of a call that failed.
struct Failed {
    std::string reason;
};

void check(ov_status_e status) {
    if (status != OK) {
        const char* said = ov_get_last_err_msg();
        std::string reason = said != nullptr && *said != '\0' ? said : ov_get_error_info(status);
        throw Failed{reason.substr(0, reason.find_last_not_of(" \n") + 1)};
    }
}

// What a call makes in its last argument.
template <class Owner, class Call>
Owner made(const Call& call) {
    typename Owner::pointer thing = nullptr;
    const ov_status_e status = call(&thing);
    Owner owner(thing);
    check(status);
    return owner;
}

std::string version() {
    ov_version_t version{};
    if (ov_get_openvino_version(&version) != OK) {
        return "of an unknown version";
    }
    std::string number = version.buildNumber;
    ov_version_free(&version);
    return number.substr(0, number.find('-'));
}

class OpenVino final : public Backend {
  public:
    OpenVino(OnnxModel model, std::int32_t threads)
        : content_(std::move(model.content)), threads_(threads),
          facts_{std::move(model.spec), std::nullopt,
                 static_cast<std::int64_t>(static_cast<double>(model.costs.activation_bytes) * pool_overhead),
                 "openvino", "cpu"} {
        try {
            compile();
        } catch (const Failed& failed) {
            throw refused("OpenVINO " + version() + " cannot run the model (" + failed.reason + ")",
                          "a model that export/to_onnx.py wrote");
        }
    }

    const Facts& facts() const override { return facts_; }

    float* room(std::int64_t number, const Size& tile) override {
        const std::array<std::int64_t, 4> shape{number, 3, tile.height, tile.width};
        if (shape != shape_) {
            shape_ = {}; // until there is memory for it
            input_.resize(static_cast<std::size_t>(number * 3 * tile.height * tile.width));
            shape_ = shape;
        }
        return input_.data();
    }

    const float* infer() override {
        try {
            return run();
        } catch (const Failed& failed) {
            const Error error = failure(failed.reason);
            try {
                compile(); // the old one goes on failing, also with batches that it took before
            } catch (const Failed& again) {
                throw failure(again.reason);
            }
            throw error;
        }
    }

    void give_back() override {
        input_ = {};
        shape_ = {};
        output_.reset();
    }

  private:
    void compile() {
        output_.reset();
        request_.reset();
        compiled_.reset();
        core_ = made<Core>(ov_core_create);
        const auto model = made<Model>([&](ov_model_t** model) {
            return ov_core_read_model_from_memory_buffer(core_.get(), content_.data(), content_.size(), nullptr, model);
        });
        const std::string threads = std::to_string(threads_);
        compiled_ = made<Compiled>([&](ov_compiled_model_t** compiled) {
            return threads_ > 0 ? ov_core_compile_model(core_.get(), model.get(), "CPU", 6, compiled, precision, "f32",
                                                        hint, "LATENCY", "INFERENCE_NUM_THREADS", threads.c_str())
                                : ov_core_compile_model(core_.get(), model.get(), "CPU", 4, compiled, precision, "f32",
                                                        hint, "LATENCY");
        });
        request_ = made<Request>([&](ov_infer_request_t** request) {
            return ov_compiled_model_create_infer_request(compiled_.get(), request);
        });
    }

    const float* run() {
        const auto input = made<Tensor>([&](ov_tensor_t** tensor) {
            return ov_tensor_create_from_host_ptr(F32, {4, shape_.data()}, input_.data(), tensor);
        });
        check(ov_infer_request_set_input_tensor(request_.get(), input.get()));
        // Not ov_infer_request_infer: with one thread that swallows failures and gives the pixels of an earlier batch.
        check(ov_infer_request_start_async(request_.get()));
        check(ov_infer_request_wait(request_.get()));
        output_ = made<Tensor>(
            [&](ov_tensor_t** tensor) { return ov_infer_request_get_output_tensor(request_.get(), tensor); });
        require_shape();
        void* data = nullptr;
        check(ov_tensor_data(output_.get(), &data));
        return static_cast<const float*>(data);
    }

    void require_shape() const {
        ov_shape_t shape{};
        check(ov_tensor_get_shape(output_.get(), &shape));
        const std::vector<std::int64_t> found(shape.dims, shape.dims + shape.rank);
        ov_shape_free(&shape);
        ov_element_type_e type{};
        check(ov_tensor_get_element_type(output_.get(), &type));
        const std::int64_t scale = facts_.spec.scale;
        if (type != F32 || found != std::vector<std::int64_t>{shape_[0], 3, shape_[2] * scale, shape_[3] * scale}) {
            throw Failed{"a result of another shape than the spec says"};
        }
    }

    // OpenVINO does not tell a lack of memory from other failures: it is one where this process could not get what the
    // batch needs.
    Error failure(const std::string& reason) const {
        const std::string size =
            std::to_string(shape_[0]) + " x " + std::to_string(shape_[2]) + "x" + std::to_string(shape_[3]);
        if (!could_get(shape_[0] * shape_[2] * shape_[3] * facts_.bytes_per_pixel)) {
            return out_of_memory("no memory for a batch of " + size, "", "a smaller --tile");
        }
        return refused("openvino failed on a batch of " + size + " (" + reason + ")");
    }

    static constexpr auto precision = "INFERENCE_PRECISION_HINT", hint = "PERFORMANCE_HINT";

    std::string content_;
    std::int32_t threads_;
    Facts facts_;
    std::array<std::int64_t, 4> shape_{};
    std::vector<float> input_;
    Core core_; // in this order: each uses those before it
    Compiled compiled_;
    Request request_;
    Tensor output_;
};

} // namespace

std::unique_ptr<Backend> open_openvino(OnnxModel model, std::int32_t threads) {
    return std::make_unique<OpenVino>(std::move(model), threads);
}

} // namespace gpsr
