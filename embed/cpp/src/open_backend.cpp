// A model file and a device in, something that runs batches out. The only file that knows which runtimes were built in.
#include "open_backend.hpp"

#include "engine_file.hpp"
#include "error.hpp"
#include "onnx_file.hpp"
#include "precision.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>

#ifdef GPSR_WITH_OPENVINO
#include "openvino_backend.hpp"
#define GPSR_OPENVINO_NAME "openvino"
#else
#define GPSR_OPENVINO_NAME ""
#endif

#ifdef GPSR_WITH_TENSORRT // the name of the flavour, tensorrt or tensorrt-rtx
#include "tensorrt_backend.hpp"
#define GPSR_TENSORRT_NAME GPSR_WITH_TENSORRT
#else
#define GPSR_TENSORRT_NAME ""
#endif

#if defined(GPSR_WITH_OPENVINO) && defined(GPSR_WITH_TENSORRT)
#define GPSR_BETWEEN " "
#else
#define GPSR_BETWEEN ""
#endif

namespace gpsr {

namespace {

std::string suffix_of(const std::string& path) {
    const auto name = path.find_last_of('/') + 1; // npos + 1 is 0
    const auto dot = path.find_last_of('.');
    std::string suffix = dot == std::string::npos || dot <= name ? "" : path.substr(dot);
    std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                   [](unsigned char mark) { return static_cast<char>(mark < 0x80 ? std::tolower(mark) : mark); });
    return suffix;
}

// Index of the GPU that `device` names, 0 where it names none. Throws Error (usage).
int index_of(const std::string& device) {
    if (device == "auto" || device == "cpu" || device == "cuda") {
        return 0;
    }
    int index = -1;
    const char *begin = device.data() + std::min<std::size_t>(device.size(), 5), *end = device.data() + device.size();
    const auto [stopped, failure] = std::from_chars(begin, end, index);
    if (device.compare(0, 5, "cuda:") != 0 || failure != std::errc() || stopped != end || index < 0) {
        throw usage("device '" + device + "'", "auto, cpu, cuda or cuda:INDEX");
    }
    return index;
}

std::unique_ptr<Backend> open_onnx(const std::string& path, const OpenOptions& options) {
    if (options.device != "auto" && options.device != "cpu") {
        throw refused("device " + options.device + " in OpenVINO", "the CPU", "--device cpu, or an engine");
    }
    OnnxModel model = read_onnx(path);
    const std::int64_t scale = model.stated.spec.scale;
    if (options.scale != 0 && options.scale != scale) {
        throw refused("the model enlarges " + std::to_string(scale) + " times",
                      "one for scale " + std::to_string(options.scale) + ", as asked", "another model, or no scale");
    }
#ifdef GPSR_WITH_OPENVINO
    return open_openvino(std::move(model), options.threads, options.precision);
#else
    throw refused("this gpsr was built without OpenVINO", "it for .onnx models", "a build with -DOpenVINO_DIR=...");
#endif
}

std::unique_ptr<Backend> open_engine(const std::string& path, const OpenOptions& options, int index) {
    if (options.device == "cpu") {
        throw refused("an engine on the CPU", "an NVIDIA GPU", "the .onnx that it was built from");
    }
    Engine engine = read_engine(path);
    require_scale(engine.spec, options.scale);
    require_own_precision(engine.spec.sr, options.precision);
#ifdef GPSR_WITH_TENSORRT
    return open_tensorrt(std::move(engine), index);
#else
    static_cast<void>(index);
    throw refused("this gpsr was built without TensorRT", "it for engines",
                  "a build with -DGPSR_TENSORRT_ROOT=..., or the .onnx that it was built from, on a CPU");
#endif
}

} // namespace

std::unique_ptr<Backend> open_backend(const std::string& path, const OpenOptions& options) {
    const std::string suffix = suffix_of(path);
    const int index = index_of(options.device);
    require_precision(options.precision);
    try {
        if (suffix == ".onnx") {
            return open_onnx(path, options);
        }
        if (suffix == ".plan" || suffix == ".engine") {
            return open_engine(path, options, index);
        }
        for (const char* pickle : {".pth", ".pt", ".ckpt", ".bin", ".pkl"}) {
            if (suffix == pickle) {
                throw refused("this file may hold a pickle, which can run code", ".onnx or .plan",
                              "convert the weights to safetensors, and export/to_onnx.py");
            }
        }
        throw refused("no model is known by the suffix '" + suffix + "'", ".onnx or .plan",
                      suffix == ".safetensors" ? "export/to_onnx.py, which makes an .onnx of it" : "");
    } catch (const Error& error) {
        throw error.at(path);
    }
}

const char* built_in_runtimes() { return GPSR_OPENVINO_NAME GPSR_BETWEEN GPSR_TENSORRT_NAME; }

} // namespace gpsr
