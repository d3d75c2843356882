// What a network or an engine does, out of JSON. Every rule is one of gpsr_deploy/spec.py.
#include "spec.hpp"

#include "error.hpp"
#include "json.hpp"
#include "sha256.hpp"
#include "text.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace gpsr {

namespace {

constexpr std::int64_t max_side = 1 << 16; // LR pixels; no engine takes more
constexpr double max_macs = 1e18;          // for one picture; far above all there is
constexpr double max_db = 1e4;             // float32 values that differ at all are less than 1000 dB apart

using json::Value;

void require(bool holds, std::string_view field, const Value& found, std::string expected) {
    if (!holds) {
        throw refused("the spec says " + std::string(field) + " = " + json::shown(found), std::move(expected));
    }
}

// An object of exactly these fields.
class Fields {
  public:
    Fields(const Value& value, const std::string& what, std::initializer_list<const char*> names) {
        const auto* object = value.as<json::Object>();
        std::vector<std::string> held;
        for (const auto& member : object != nullptr ? *object : json::Object{}) {
            held.push_back(member.name);
        }
        std::vector<std::string> wanted(names.begin(), names.end());
        const std::string expected = "the keys " + joined(wanted);
        std::sort(held.begin(), held.end());
        std::sort(wanted.begin(), wanted.end());
        if (held != wanted) {
            const std::string found = object != nullptr ? joined(held) : "no object";
            throw refused(what + " holds " + (found.empty() ? "nothing" : found), expected);
        }
        object_ = object;
    }

    const Value& operator[](std::string_view name) const {
        return std::find_if(object_->begin(), object_->end(), [&](const auto& one) { return one.name == name; })->value;
    }

  private:
    const json::Object* object_;
};

std::int64_t integer(const Value& value, std::string_view field, std::int64_t least, std::int64_t most,
                     const std::string& expected) {
    const auto* found = value.as<std::int64_t>();
    require(found != nullptr && least <= *found && *found <= most, field, value, expected);
    return *found;
}

// A number of either kind. A whole one that a double cannot hold is compared as it is.
double number(const Value& value, std::string_view field, double least, double most, const std::string& expected) {
    if (const auto* whole = value.as<std::int64_t>()) {
        require(static_cast<double>(*whole) >= least && *whole <= static_cast<std::int64_t>(most), field, value,
                expected);
        return static_cast<double>(*whole);
    }
    const auto* found = value.as<double>();
    require(found != nullptr && least <= *found && *found <= most, field, value, expected);
    return *found;
}

std::string text(const Value& value, std::string_view field, bool (*holds)(std::string_view), const char* expected) {
    const auto* found = value.as<std::string>();
    require(found != nullptr && holds(*found), field, value, expected);
    return *found;
}

std::string one_of(const Value& value, std::string_view field, std::initializer_list<const char*> choices) {
    const auto* found = value.as<std::string>();
    const bool known = found != nullptr && std::find(choices.begin(), choices.end(), *found) != choices.end();
    require(known, field, value, joined({choices.begin(), choices.end()}, " or "));
    return *found;
}

bool is_name(std::string_view name) {
    const auto characters = count_characters(name);
    return characters && 0 < *characters && *characters <= 100 && is_printable(name);
}

// `numbers` numbers of up to `digits` digits, with dots between.
bool is_dotted(std::string_view text, int numbers, std::size_t digits) {
    for (int index = 0; index < numbers; ++index) {
        const auto end = std::min(text.find_first_not_of("0123456789"), text.size());
        if (end == 0 || end > digits || (index + 1 < numbers && (end == text.size() || text[end] != '.'))) {
            return false;
        }
        text.remove_prefix(index + 1 < numbers ? end + 1 : end);
    }
    return text.empty();
}

bool is_version(std::string_view text) { return is_dotted(text, 4, 5); }

bool is_capability(std::string_view text) { return is_dotted(text, 2, 2) && text[text.size() - 2] == '.'; }

constexpr auto digits = "64 lower-case hexadecimal digits";

SRSpec sr_of(const Value& value, const std::string& what) {
    const Fields fields(value, what, {"name", "scale", "halo", "multiple_of", "tiling", "dtype", "checkpoint_sha256"});
    SRSpec spec;
    spec.name = text(fields["name"], "name", is_name, "1 to 100 printable characters");
    spec.scale = integer(fields["scale"], "scale", 2, 16, "2, 4, 8 or 16");
    require((spec.scale & (spec.scale - 1)) == 0, "scale", fields["scale"], "2, 4, 8 or 16");
    spec.multiple_of = integer(fields["multiple_of"], "multiple_of", 1, 1024, "1 to 1024");
    const std::string multiples = "a multiple of " + std::to_string(spec.multiple_of) + " up to 1024";
    spec.halo = integer(fields["halo"], "halo", 0, 1024, multiples);
    require(spec.halo % spec.multiple_of == 0, "halo", fields["halo"], multiples);
    spec.tiling = one_of(fields["tiling"], "tiling", {"aligned", "whole"});
    spec.dtype = one_of(fields["dtype"], "dtype", {"fp32", "fp16", "int8"});
    spec.checkpoint_sha256 = text(fields["checkpoint_sha256"], "checkpoint_sha256", is_sha256, digits);
    return spec;
}

Costs costs_of(const Value& value, const std::string& what) {
    const Fields fields(value, what, {"params", "macs_720p", "activation_bytes"});
    constexpr auto reason = "a number above zero and within reason";
    Costs costs;
    costs.params = integer(fields["params"], "params", 1, (std::int64_t{1} << 31U) - 1, reason);
    costs.macs_720p = number(fields["macs_720p"], "macs_720p", 0, max_macs, reason);
    require(costs.macs_720p > 0, "macs_720p", fields["macs_720p"], reason);
    costs.activation_bytes = integer(fields["activation_bytes"], "activation_bytes", 1, 1 << 24, reason);
    return costs;
}

Quality quality_of(const Value& value, const std::string& what) {
    const Fields fields(value, what, {"loss_db", "float_layers"});
    constexpr auto decibels = "decibels by precision, bf16 or int8", names = "names of layers";
    const Value &losses = fields["loss_db"], &layers = fields["float_layers"];
    const auto* object = losses.as<json::Object>();
    require(object != nullptr, "loss_db", losses, decibels);
    Quality quality;
    for (const auto& [name, loss] : *object) {
        require(name == "bf16" || name == "int8", "loss_db", losses, decibels);
        quality.loss_db.emplace_back(name, number(loss, "loss_db", -max_db, max_db, decibels));
    }
    const auto* list = layers.as<json::List>();
    require(list != nullptr && list->size() <= 1000, "float_layers", layers, names);
    for (const Value& layer : *list) {
        quality.float_layers.push_back(text(layer, "float_layers", is_name, names));
    }
    return quality;
}

Size size_of(const Value& value) {
    const auto* sides = value.as<json::List>();
    const bool pair = sides != nullptr && sides->size() == 2 && (*sides)[0].as<std::int64_t>() != nullptr &&
                      (*sides)[1].as<std::int64_t>() != nullptr;
    require(pair, "a size of the profile", value, "height and width");
    return {*(*sides)[0].as<std::int64_t>(), *(*sides)[1].as<std::int64_t>()};
}

Profile profile_of(const Value& value, std::int64_t multiple_of) {
    const Fields fields(value, "the sidecar's profile", {"min", "opt", "max", "batch"});
    Profile profile{size_of(fields["min"]), size_of(fields["opt"]), size_of(fields["max"]), 0};
    const auto& [low, best, high, batch] = profile;
    const std::string found = "the profile's sizes are " + shown(low) + ", " + shown(best) + ", " + shown(high);
    const auto ordered = [](std::int64_t least, std::int64_t side, std::int64_t most) {
        return 0 < least && least <= side && side <= most && most <= max_side;
    };
    if (!ordered(low.height, best.height, high.height) || !ordered(low.width, best.width, high.width)) {
        throw refused(found, "0 < min <= opt <= max <= " + std::to_string(max_side));
    }
    for (const Size& size : {low, best, high}) {
        if (size.height % multiple_of != 0 || size.width % multiple_of != 0) {
            const std::string step = std::to_string(multiple_of);
            throw refused(found, "multiples of " + step + ", which is all that the network can run");
        }
    }
    profile.batch = integer(fields["batch"], "the profile's batch", 1, 1024, "1 to 1024");
    return profile;
}

std::optional<Parity> parity_of(const Value& value) {
    if (value.as<std::nullptr_t>() != nullptr) {
        return std::nullopt;
    }
    const Fields fields(value, "the sidecar's parity", {"images", "psnr_db", "max_level", "share_off_by_one", "gpu"});
    Parity parity;
    parity.images =
        integer(fields["images"], "parity.images", 1, (std::int64_t{1} << 31U) - 1, "1 or more, within reason");
    if (fields["psnr_db"].as<std::nullptr_t>() == nullptr) {
        parity.psnr_db = number(fields["psnr_db"], "parity.psnr_db", 0, max_db, "decibels");
    }
    parity.max_level = integer(fields["max_level"], "parity.max_level", 0, 255, "0 to 255");
    parity.share_off_by_one = number(fields["share_off_by_one"], "parity.share_off_by_one", 0, 1, "0 to 1");
    parity.gpu = text(fields["gpu"], "parity.gpu", is_name, "1 to 100 printable characters");
    return parity;
}

std::vector<std::string> capabilities_of(const Value& value) {
    const auto* list = value.as<json::List>();
    constexpr auto field = "compute_capabilities", expected = "a list like 8.6, 8.9, each of them once";
    require(list != nullptr && !list->empty() && list->size() <= 32, field, value, expected);
    std::vector<std::string> found;
    for (const Value& one : *list) {
        const auto* name = one.as<std::string>();
        const bool fits = name != nullptr && is_capability(*name);
        require(fits && std::find(found.begin(), found.end(), *name) == found.end(), field, value, expected);
        found.push_back(*name);
    }
    return found;
}

std::vector<std::pair<std::string, double>> weights_of(const Value& value) {
    const auto* object = value.as<json::Object>();
    constexpr auto expected = "shares of fp32, fp16, bf16, int8, other that add up to 1";
    require(object != nullptr, "weights", value, expected);
    std::vector<std::pair<std::string, double>> shares;
    double sum = 0;
    for (const auto& [name, share] : *object) {
        const bool known = name == "fp32" || name == "fp16" || name == "bf16" || name == "int8" || name == "other";
        require(known, "weights", value, expected);
        shares.emplace_back(name, number(share, "weights", 0, 1, expected));
        sum += shares.back().second;
    }
    require(shares.empty() || std::abs(sum - 1) <= 1e-9 * std::max(sum, 1.0), "weights", value, expected);
    return shares;
}

} // namespace

SRSpec sr_spec(std::string_view text) { return sr_of(json::parse(text), "the spec"); }

Costs costs(std::string_view text) { return costs_of(json::parse(text), "the costs"); }

Quality quality(std::string_view text) { return quality_of(json::parse(text), "the quality"); }

bool Quality::keeps(std::string_view precision) const {
    const auto measured = [&](const auto& one) { return one.first == precision && one.second <= max_loss_db; };
    return std::any_of(loss_db.begin(), loss_db.end(), measured);
}

EngineSpec engine_spec(std::string_view text) {
    const Value parsed = json::parse(text);
    const Fields fields(parsed, "the sidecar",
                        {"sr", "costs", "profile", "runtime", "runtime_version", "compute_capabilities", "weights",
                         "plan_sha256", "onnx_sha256", "parity"});
    EngineSpec spec;
    spec.sr = sr_of(fields["sr"], "the sidecar's sr");
    spec.costs = costs_of(fields["costs"], "the sidecar's costs");
    spec.profile = profile_of(fields["profile"], spec.sr.multiple_of);
    spec.runtime = one_of(fields["runtime"], "runtime", {"tensorrt", "tensorrt-rtx"});
    spec.runtime_version =
        gpsr::text(fields["runtime_version"], "runtime_version", is_version, "four numbers with dots between");
    spec.compute_capabilities = capabilities_of(fields["compute_capabilities"]);
    spec.weights = weights_of(fields["weights"]);
    spec.plan_sha256 = gpsr::text(fields["plan_sha256"], "plan_sha256", is_sha256, digits);
    spec.onnx_sha256 = gpsr::text(fields["onnx_sha256"], "onnx_sha256", is_sha256, digits);
    spec.parity = parity_of(fields["parity"]);
    return spec;
}

} // namespace gpsr
