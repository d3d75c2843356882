// A plan and its sidecar: what has to be true before TensorRT sees the plan.
#include "engine_file.hpp"

#include "error.hpp"
#include "json.hpp"
#include "model_file.hpp"
#include "sha256.hpp"
#include "text.hpp"

#include <algorithm>
#include <cctype>
#include <iterator>

namespace gpsr {

namespace {

constexpr std::uint64_t max_plan_bytes = std::uint64_t{4}
                                         << 30U; // the largest member's engine for six GPUs is a few hundred MB
constexpr std::size_t header_bytes = 64;
constexpr const char* rtx_gpus[] = {"7.5", "8.0", "8.6", "8.9", "12.0", "12.1"}; // in the order of the mask's bits

// What a plan's first 64 bytes tell. Observed: no document states it, and of TensorRT's own we have seen no more than
// the magic.
struct Header {
    std::string runtime, version;
    std::vector<std::string> compute_capabilities;
};

std::uint64_t little_endian(std::string_view bytes) {
    std::uint64_t value = 0;
    for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
        value = value << 8U | static_cast<unsigned char>(*byte);
    }
    return value;
}

Header header_of(std::string_view plan) {
    const std::string_view magic = plan.substr(0, 4);
    if (plan.size() < header_bytes || (magic != "ftrt" && magic != "vtrt")) {
        throw refused("this is no TensorRT plan", "a file that begins with ftrt (TensorRT) or vtrt (TensorRT-RTX)",
                      "gpsr-trt build MODEL.onnx");
    }
    Header header;
    header.runtime = magic == "ftrt" ? "tensorrt" : "tensorrt-rtx";
    for (const char number : plan.substr(0x18, 4)) {
        header.version += (header.version.empty() ? "" : ".") + std::to_string(static_cast<unsigned char>(number));
    }
    if (magic == "ftrt") {
        return header;
    }
    const std::uint64_t size = little_endian(plan.substr(0x10, 8));
    if (size != plan.size()) {
        throw refused("the plan has " + std::to_string(plan.size()) + " bytes",
                      std::to_string(size) + ", as its header says", "fetch it again");
    }
    const std::uint64_t mask = little_endian(plan.substr(0x20, 4));
    for (unsigned bit = 0; bit < std::size(rtx_gpus); ++bit) {
        if ((mask >> bit & 1U) != 0) {
            header.compute_capabilities.emplace_back(rtx_gpus[bit]);
        }
    }
    return header;
}

// TensorRT takes only what the very same release wrote; the last of the four numbers is a build of that release.
std::string_view release(std::string_view version) { return version.substr(0, version.rfind('.')); }

void require_same(const Header& found, const EngineSpec& spec) {
    bool differs = found.runtime != spec.runtime;
    if (!differs && found.runtime == "tensorrt-rtx") {
        differs = release(found.version) != release(spec.runtime_version) ||
                  found.compute_capabilities != spec.compute_capabilities;
    }
    if (differs) {
        const auto words = [](const std::string& runtime, const std::string& version,
                              const std::vector<std::string>& gpus) {
            return runtime + " " + version + (gpus.empty() ? "" : " for ") + joined(gpus);
        };
        throw refused("the plan's header says " + words(found.runtime, found.version, found.compute_capabilities) +
                          ", its sidecar " + words(spec.runtime, spec.runtime_version, spec.compute_capabilities),
                      "the same in both", "fetch both files again, or build the engine again");
    }
}

EngineSpec read_sidecar(const std::string& path, const std::string& sidecar) {
    if (!is_there(sidecar)) {
        const auto name = sidecar.substr(sidecar.find_last_of('/') + 1);
        throw refused("there is no " + name + " beside the plan",
                      "the sidecar that `gpsr-trt build` writes: without it nobody knows what the plan is",
                      "fetch it too, or build the engine again")
            .at(path);
    }
    try {
        return engine_spec(read_file(sidecar, json::max_characters));
    } catch (const Error& error) {
        throw error.at(sidecar);
    }
}

bool is_plain(const std::string& name) {
    const auto plain = [](unsigned char mark) {
        return mark < 0x80 && (std::isalnum(mark) != 0 || mark == '_' || mark == '.' || mark == '-');
    };
    return !name.empty() && name.size() <= 40 && std::isalnum(static_cast<unsigned char>(name.front())) != 0 &&
           std::all_of(name.begin(), name.end(), plain);
}

} // namespace

Engine read_engine(const std::string& path) {
    const std::string sidecar = path + ".json";
    std::string plan = read_file(path, max_plan_bytes);
    try {
        if (!is_there(sidecar)) {
            header_of(plan); // for what is no plan at all a sidecar would be no help
        }
        EngineSpec spec = read_sidecar(path, sidecar);
        const std::string found = sha256(plan);
        if (found != spec.plan_sha256) {
            throw refused("the plan has SHA-256 " + found.substr(0, 16) +
                              "..., so it is damaged or not the one that its sidecar describes",
                          spec.plan_sha256.substr(0, 16) + "...",
                          "fetch both files again, or " + rebuild(spec) + " --overwrite");
        }
        require_same(header_of(plan), spec);
        return {std::move(plan), std::move(spec)};
    } catch (const Error& error) {
        throw error.at(path);
    }
}

void require_scale(const EngineSpec& spec, std::int64_t scale) {
    if (scale != 0 && scale != spec.sr.scale) {
        throw refused("the engine enlarges " + std::to_string(spec.sr.scale) + " times",
                      "one for scale " + std::to_string(scale), "an engine of another model, or no scale");
    }
}

void require_runnable(const EngineSpec& spec, std::string_view runtime, std::string_view version,
                      const std::string& compute_capability) {
    if (runtime != spec.runtime || release(version) != release(spec.runtime_version)) {
        throw refused("the engine was built by " + spec.runtime + " " + spec.runtime_version,
                      std::string(runtime) + " " + std::string(version) +
                          ", which is installed here: an engine runs in the TensorRT that built it",
                      rebuild(spec, compute_capability));
    }
    const auto& built_for = spec.compute_capabilities;
    if (std::find(built_for.begin(), built_for.end(), compute_capability) == built_for.end()) {
        throw refused("the engine was built for GPUs of compute capability " + joined(built_for),
                      compute_capability + ", which is this GPU's", rebuild(spec, compute_capability));
    }
}

std::string rebuild(const EngineSpec& spec, const std::string& gpu) {
    std::string name = is_plain(spec.sr.name) ? spec.sr.name : "MODEL";
    std::replace(name.begin(), name.end(), '-', '_');
    name += spec.sr.dtype == "fp32" ? "" : "_" + spec.sr.dtype;
    auto targets = spec.compute_capabilities;
    std::string runtime = spec.runtime;
    if (!gpu.empty() && std::find(targets.begin(), targets.end(), gpu) == targets.end()) {
        targets = {gpu};
        if (std::find(std::begin(rtx_gpus), std::end(rtx_gpus), gpu) == std::end(rtx_gpus)) {
            runtime = "tensorrt"; // the other one does not build for it
        }
    }
    if (runtime == "tensorrt" && gpu.empty()) {
        targets.clear(); // it builds for the GPU that it runs on
    }
    const auto& [low, best, high, batch] = spec.profile;
    return "gpsr-trt build " + name + ".onnx -o " + name + ".plan --runtime " + runtime +
           (targets.empty() ? "" : " --gpu " + joined(targets, ",")) + " --min " + shown(low) + " --opt " +
           shown(best) + " --max " + shown(high) + " --batch " + std::to_string(batch);
}

} // namespace gpsr
