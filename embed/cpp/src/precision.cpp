// Which precision a model runs in.
#include "precision.hpp"

#include "error.hpp"

namespace gpsr {

void require_precision(const std::string& asked) {
    for (const char* known : {"auto", "fp32", "fp16", "bf16", "int8"}) {
        if (asked == known) {
            return;
        }
    }
    throw usage("precision '" + asked + "'", "auto, fp32, fp16, bf16 or int8");
}

std::string precision_for(const std::string& dtype, const Quality& quality, const std::string& asked, bool has_bf16) {
    const bool in_fp32 = dtype == "fp32";
    if (asked != "auto" && asked != dtype && !(in_fp32 && asked == "bf16")) {
        throw usage("precision " + asked + " of a model in " + dtype,
                    in_fp32 ? "auto, fp32 or bf16" : "auto, which is " + dtype + " here",
                    asked == "int8" ? "python export/quantize.py" : "a model in " + asked);
    }
    if (asked == "bf16" && !has_bf16) {
        throw refused("this processor has no bfloat16 arithmetic", "AVX512_BF16, AMX or the like for --precision bf16",
                      "--precision fp32, or auto");
    }
    if (asked == "auto") {
        return in_fp32 && has_bf16 && quality.keeps("bf16") ? "bf16" : dtype;
    }
    return asked;
}

void require_own_precision(const SRSpec& engine, const std::string& asked) {
    if (asked != "auto" && asked != engine.dtype) {
        throw usage("precision " + asked, engine.dtype + " or auto: the engine was built in " + engine.dtype);
    }
}

} // namespace gpsr
