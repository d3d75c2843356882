// gpsr-probe PART: the library's parts one by one, for tests. Cases come from stdin, each a length (8 bytes,
// little-endian) and so many bytes; one line goes out for each.
#include "error.hpp"
#include "onnx_file.hpp"
#include "precision.hpp"
#include "sha256.hpp"
#include "spec.hpp"
#include "text.hpp"
#include "tiles.hpp"
#include "upscale.hpp"

#include <cstdio>
#include <cstring>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>

namespace {

bool next(std::string& bytes) {
    unsigned char length[8];
    if (std::fread(length, 1, sizeof length, stdin) != sizeof length) {
        return false;
    }
    std::size_t size = 0;
    for (int index = 7; index >= 0; --index) {
        size = size << 8U | length[index];
    }
    bytes.resize(size); // exactly as long as it is, so that a sanitizer sees what reads beyond
    bytes.shrink_to_fit();
    return std::fread(bytes.data(), 1, size, stdin) == size;
}

std::string quoted(const std::string& text) {
    std::string made = "\"";
    for (const char mark : text) {
        made += mark == '"' || mark == '\\' ? std::string("\\") + mark : std::string(1, mark);
    }
    return made + "\"";
}

std::string number(double value) {
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.17g", value);
    return digits;
}

template <class List, class Shown>
std::string list(const List& values, const Shown& shown) {
    std::string made = "[";
    for (const auto& value : values) {
        made += (made.size() > 1 ? ", " : "") + shown(value);
    }
    return made + "]";
}

std::string json(const gpsr::SRSpec& spec) {
    std::ostringstream out;
    out << R"({"name": )" << quoted(spec.name) << R"(, "scale": )" << spec.scale << R"(, "halo": )" << spec.halo
        << R"(, "multiple_of": )" << spec.multiple_of << R"(, "tiling": )" << quoted(spec.tiling) << R"(, "dtype": )"
        << quoted(spec.dtype) << R"(, "checkpoint_sha256": )" << quoted(spec.checkpoint_sha256) << "}";
    return out.str();
}

std::string json(const gpsr::Costs& costs) {
    return R"({"params": )" + std::to_string(costs.params) + R"(, "macs_720p": )" + number(costs.macs_720p) +
           R"(, "activation_bytes": )" + std::to_string(costs.activation_bytes) + "}";
}

std::string json(const gpsr::Quality& quality) {
    std::string losses;
    for (const auto& [name, loss] : quality.loss_db) {
        losses += (losses.empty() ? "" : ", ") + quoted(name) + ": " + number(loss);
    }
    return R"({"loss_db": {)" + losses + R"(}, "float_layers": )" + list(quality.float_layers, quoted) + "}";
}

std::string json(const gpsr::Profile& profile) {
    const auto size = [](const gpsr::Size& one) {
        return "[" + std::to_string(one.height) + ", " + std::to_string(one.width) + "]";
    };
    return R"({"min": )" + size(profile.min) + R"(, "opt": )" + size(profile.opt) + R"(, "max": )" + size(profile.max) +
           R"(, "batch": )" + std::to_string(profile.batch) + "}";
}

std::string json(const std::optional<gpsr::Parity>& parity) {
    if (!parity) {
        return "null";
    }
    return R"({"images": )" + std::to_string(parity->images) + R"(, "psnr_db": )" +
           (parity->psnr_db ? number(*parity->psnr_db) : "null") + R"(, "max_level": )" +
           std::to_string(parity->max_level) + R"(, "share_off_by_one": )" + number(parity->share_off_by_one) +
           R"(, "gpu": )" + quoted(parity->gpu) + "}";
}

std::string json(const gpsr::EngineSpec& spec) {
    std::string weights;
    for (const auto& [kind, share] : spec.weights) {
        weights += (weights.empty() ? "" : ", ") + quoted(kind) + ": " + number(share);
    }
    return R"({"sr": )" + json(spec.sr) + R"(, "costs": )" + json(spec.costs) + R"(, "profile": )" +
           json(spec.profile) + R"(, "runtime": )" + quoted(spec.runtime) + R"(, "runtime_version": )" +
           quoted(spec.runtime_version) + R"(, "compute_capabilities": )" + list(spec.compute_capabilities, quoted) +
           R"(, "weights": {)" + weights + R"(}, "plan_sha256": )" + quoted(spec.plan_sha256) + R"(, "onnx_sha256": )" +
           quoted(spec.onnx_sha256) + R"(, "parity": )" + json(spec.parity) + "}";
}

std::string spans(const std::vector<gpsr::Span>& axis) {
    return list(axis, [](const gpsr::Span& span) {
        return "[" + std::to_string(span.start) + ", " + std::to_string(span.stop) + ", " +
               std::to_string(span.keep_start) + ", " + std::to_string(span.keep_stop) + "]";
    });
}

// height width tile_height tile_width halo multiple_of -> rows and columns
std::string plan(const std::string& bytes) {
    std::istringstream words(bytes);
    gpsr::Size picture, tile;
    std::int64_t halo = 0, step = 0;
    words >> picture.height >> picture.width >> tile.height >> tile.width >> halo >> step;
    const gpsr::TilePlan made = gpsr::plan(picture, tile, halo, step);
    return "[" + spans(made.rows) + ", " + spans(made.cols) + "]";
}

// height width halo multiple_of max_pixels min_keep -> tile
std::string fit(const std::string& bytes) {
    std::istringstream words(bytes);
    gpsr::Size picture;
    std::int64_t halo = 0, step = 0, most = 0, keep = 0;
    words >> picture.height >> picture.width >> halo >> step >> most >> keep;
    const gpsr::Size tile = gpsr::fit(picture, halo, step, most, keep);
    return "[" + std::to_string(tile.height) + ", " + std::to_string(tile.width) + "]";
}

// A number, or `-` for none.
std::optional<std::int64_t> perhaps(std::istringstream& words) {
    std::string word;
    words >> word;
    return word == "-" ? std::nullopt : std::make_optional<std::int64_t>(std::stoll(word));
}

// height width, tile_height tile_width halo whole batch of the request, available, halo multiple_of tiling
// bytes_per_pixel of the network, and the profile's eight numbers or `-` -> rows, columns, halo, tiles at once
std::string cut(const std::string& bytes) {
    std::istringstream words(bytes);
    gpsr::Size picture;
    words >> picture.height >> picture.width;
    gpsr::Tiling tiling;
    const auto height = perhaps(words), width = perhaps(words);
    if (height && width) {
        tiling.tile = gpsr::Size{*height, *width};
    }
    tiling.halo = perhaps(words);
    words >> tiling.whole;
    tiling.batch = perhaps(words);
    const auto available = perhaps(words);
    gpsr::Facts facts{};
    words >> facts.spec.halo >> facts.spec.multiple_of >> facts.spec.tiling >> facts.bytes_per_pixel;
    if (const auto low = perhaps(words)) {
        gpsr::Profile profile;
        profile.min.height = *low;
        words >> profile.min.width >> profile.opt.height >> profile.opt.width >> profile.max.height >>
            profile.max.width >> profile.batch;
        facts.profile = profile;
    }
    const gpsr::Cut made = gpsr::cut_for(facts, picture, tiling, available);
    return "[" + spans(made.plan.rows) + ", " + spans(made.plan.cols) + ", " + std::to_string(made.halo) + ", " +
           std::to_string(made.at_once) + "]";
}

std::string onnx(const std::string& bytes) {
    const gpsr::Stated stated = gpsr::check_onnx(bytes);
    return "[" + json(stated.spec) + ", " + json(stated.costs) + ", " + json(stated.quality) + "]";
}

// dtype, precision asked for, whether the processor multiplies bf16, and what bf16 loses or `-` -> precision
std::string precision(const std::string& bytes) {
    std::istringstream words(bytes);
    std::string dtype, asked, loss;
    bool has_bf16 = false;
    words >> dtype >> asked >> has_bf16 >> loss;
    gpsr::Quality quality;
    if (loss != "-") {
        quality.loss_db.emplace_back("bf16", std::stod(loss));
    }
    return quoted(gpsr::precision_for(dtype, quality, asked, has_bf16));
}

std::string of(const std::string& part, const std::string& bytes) {
    return part == "plan"        ? plan(bytes)
           : part == "fit"       ? fit(bytes)
           : part == "cut"       ? cut(bytes)
           : part == "sha256"    ? gpsr::sha256(bytes)
           : part == "printable" ? gpsr::printable(bytes)
           : part == "onnx"      ? onnx(bytes)
           : part == "precision" ? precision(bytes)
           : part == "spec"      ? json(gpsr::sr_spec(bytes))
           : part == "quality"   ? json(gpsr::quality(bytes))
           : part == "sidecar"   ? json(gpsr::engine_spec(bytes))
                                 : throw gpsr::usage("part " + part, "one that is known");
}

} // namespace

int main(int count, char** words) {
    for (std::string bytes; count == 2 && next(bytes);) {
        try {
            std::cout << of(words[1], bytes) << '\n';
        } catch (const gpsr::Error& error) {
            std::cout << error.line() << '\n';
        }
    }
    return count == 2 ? 0 : 2;
}
