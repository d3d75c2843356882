// ONNX models in OpenVINO, through its C interface, whose ABI stays from release to release.
#include "openvino_backend.hpp"

#include "error.hpp"
#include "machine.hpp"
#include "precision.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <openvino/c/openvino.h>
#include <sstream>
#include <vector>

namespace gpsr {

namespace {

// Process memory that one byte of live float32 activations costs in a model compiled for one shape; measured for the
// Python backend, which has the same library below.
constexpr double overhead = 1.25, overhead_in_bf16 = 0.67;

// LR pixels of a batch up to which it runs in the model for all shapes: to compile one for its shape takes longer than
// to run it, and a shape may never come again. Larger ones would take twice the memory there.
constexpr std::int64_t dynamic_pixels = 128 * 128;

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

using Text = std::unique_ptr<const char, Freed<ov_free>>;

void check(ov_status_e status) {
    if (status != OK) {
        const Text said(ov_get_last_err_msg()); // a copy each time
        std::string reason = said && *said != '\0' ? said.get() : ov_get_error_info(status);
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

// Whether the processor multiplies bfloat16. Elsewhere OpenVINO takes the type too, and is slower than in float32.
bool computes_in_bf16(const ov_core_t* core) {
    char* said = nullptr;
    check(ov_core_get_property(core, "CPU", ov_property_key_device_capabilities, &said));
    const Text owned(said);
    std::istringstream words(said);
    return std::find(std::istream_iterator<std::string>(words), {}, "BF16") != std::istream_iterator<std::string>();
}

std::int64_t bytes_per_pixel(const Stated& stated, const std::string& precision) {
    const double factor = precision == "bf16" ? overhead_in_bf16 : overhead;
    const std::int64_t held = 2 * 3 * 4 * stated.spec.scale * stated.spec.scale; // the result, as Python counts it
    return static_cast<std::int64_t>(static_cast<double>(stated.costs.activation_bytes) * factor) + held;
}

class OpenVino final : public Backend {
  public:
    OpenVino(OnnxModel model, std::int32_t threads, const std::string& asked)
        : content_(std::move(model.content)), threads_(threads) {
        try {
            core_ = made<Core>(ov_core_create);
            const bool has_bf16 = computes_in_bf16(core_.get());
            const Stated& stated = model.stated;
            const std::string& dtype = stated.spec.dtype;
            const std::string precision = precision_for(dtype, stated.quality, asked, has_bf16);
            in_bf16_ = precision == "bf16" || (precision == "int8" && has_bf16); // int8: what it has in floating point
            facts_ = {stated.spec, std::nullopt, bytes_per_pixel(stated, precision), "openvino", "cpu", precision};
            static_cast<void>(read()); // or it would be refused at the first picture only
        } catch (const Failed& failed) {
            throw refused("OpenVINO " + version() + " cannot run the model (" + failed.reason + ")",
                          "a model that export/to_onnx.py wrote");
        }
    }

    const Facts& facts() const override { return facts_; }

    float* room(std::int64_t number, const Size& tile) override {
        const Shape shape{number, 3, tile.height, tile.width};
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
            drop(); // it goes on failing, also with batches that it took before
            throw failure(failed.reason);
        }
    }

    void give_back() override {
        input_ = {};
        shape_ = {};
        drop();
    }

  private:
    using Shape = std::array<std::int64_t, 4>;

    static constexpr Shape any{-1, 3, -1, -1};

    Model read() const {
        return made<Model>([&](ov_model_t** model) {
            return ov_core_read_model_from_memory_buffer(core_.get(), content_.data(), content_.size(), nullptr, model);
        });
    }

    void drop() {
        output_.reset();
        request_.reset();
        compiled_.reset();
    }

    // Compiles the model for batches of one shape, or of any, unless it is.
    void compile_for(const Shape& shape) {
        if (compiled_ && shape == compiled_for_) {
            return;
        }
        drop(); // first, or there would be memory for two
        const Model model = read();
        if (shape != any) {
            ov_partial_shape_t fixed{};
            check(ov_partial_shape_create_static(4, shape.data(), &fixed));
            const ov_status_e status = ov_model_reshape_single_input(model.get(), fixed);
            ov_partial_shape_free(&fixed);
            check(status);
        }
        // Said in any case: left alone, OpenVINO takes bf16 wherever the processor has it.
        const char* const hint = in_bf16_ ? "bf16" : "f32";
        const std::string threads = std::to_string(threads_);
        compiled_ = made<Compiled>([&](ov_compiled_model_t** compiled) {
            const auto compile = [&](auto... settings) {
                return ov_core_compile_model(core_.get(), model.get(), "CPU", sizeof...(settings), compiled,
                                             settings...);
            };
            return threads_ > 0 ? compile(precision_key, hint, latency_key, "LATENCY", threads_key, threads.c_str())
                                : compile(precision_key, hint, latency_key, "LATENCY");
        });
        request_ = made<Request>([&](ov_infer_request_t** request) {
            return ov_compiled_model_create_infer_request(compiled_.get(), request);
        });
        compiled_for_ = shape;
    }

    const float* run() {
        compile_for(shape_[0] * shape_[2] * shape_[3] <= dynamic_pixels ? any : shape_);
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

    static constexpr auto precision_key = "INFERENCE_PRECISION_HINT", latency_key = "PERFORMANCE_HINT",
                          threads_key = "INFERENCE_NUM_THREADS";

    std::string content_;
    std::int32_t threads_;
    Facts facts_;
    bool in_bf16_ = false;
    Shape shape_{}, compiled_for_{};
    std::vector<float> input_;
    Core core_; // in this order: each uses those before it
    Compiled compiled_;
    Request request_;
    Tensor output_;
};

} // namespace

std::unique_ptr<Backend> open_openvino(OnnxModel model, std::int32_t threads, const std::string& precision) {
    return std::make_unique<OpenVino>(std::move(model), threads, precision);
}

} // namespace gpsr
