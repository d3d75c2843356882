// The command line of gpsr-cpp.
#include "arguments.hpp"

#include "failure.hpp"

#include <charconv>
#include <cstring>

const char* const help_text =
    "usage: gpsr-cpp [options] INPUT OUTPUT\n"
    "Enlarges one picture (PNG where libpng was found, PPM, PGM; 8 or 16 bits, grey or RGB).\n\n"
    "  --engine FILE     the model, .onnx or .plan (default: the one that ships for -s)\n"
    "  -s, --scale N     4 or 8 (default: 4, or the engine's)\n"
    "  --device D        auto, cpu, cuda or cuda:INDEX\n"
    "  --precision P     auto, fp32, bf16, int8 (default: auto, the fastest that keeps the model's quality)\n"
    "  --threads N       of the CPU (default: all)\n"
    "  -t, --tile N|HxW  LR pixels, overlap included (default: by the memory at hand)\n"
    "  --overlap N       LR pixels per side (default: what was measured for the model)\n"
    "  --no-tile         the picture in one piece\n"
    "  --overwrite       replace OUTPUT where it is there\n"
    "  -q, --quiet       say nothing\n";

namespace {

[[noreturn]] void refuse(const std::string& found) { throw Failure(usage_error, "", found + " Try: gpsr-cpp --help."); }

std::int64_t number(const char* begin, const char* end, const std::string& option) {
    std::int64_t value = -1;
    const auto [stopped, failure] = std::from_chars(begin, end, value);
    if (failure != std::errc() || stopped != end || value < 0 || value > 1 << 20) {
        refuse(option + " " + printable(std::string(begin, end)) + ". Expected a number of up to 1048576.");
    }
    return value;
}

std::int64_t number(const std::string& word, const std::string& option) {
    return number(word.data(), word.data() + word.size(), option);
}

void set_tile(gpsr_run_options& run, const std::string& word, const std::string& option) {
    const auto cross = word.find('x');
    run.tile_height = number(word.substr(0, cross), option);
    run.tile_width = cross == std::string::npos ? run.tile_height : number(word.substr(cross + 1), option);
    if (run.tile_height < 1 || run.tile_width < 1) {
        refuse(option + " 0. Expected LR pixels.");
    }
}

} // namespace

Arguments parse(int count, char** words) {
    Arguments found;
    int places = 0;
    bool options = true;
    for (int index = 1; index < count; ++index) {
        const std::string word = words[index];
        const auto value = [&]() -> std::string {
            if (++index >= count) {
                refuse(printable(word) + " without a value.");
            }
            return words[index];
        };
        if (!options || word.size() < 2 || word.front() != '-') {
            if (places == 2) {
                refuse("more than INPUT and OUTPUT.");
            }
            (places++ == 0 ? found.input : found.output) = word;
        } else if (word == "--") {
            options = false;
        } else if (word == "--engine") {
            found.engine = value();
        } else if (word == "-s" || word == "--scale") {
            found.open.scale = static_cast<std::int32_t>(number(value(), word));
        } else if (word == "--device") {
            found.open.device = value();
        } else if (word == "--precision") {
            found.open.precision = value();
        } else if (word == "--threads") {
            found.open.threads = static_cast<std::int32_t>(number(value(), word));
        } else if (word == "-t" || word == "--tile") {
            set_tile(found.run, value(), word);
        } else if (word == "--overlap") {
            found.run.halo = number(value(), word);
            found.run.has_halo = 1;
        } else if (word == "--no-tile") {
            found.run.whole = 1;
        } else if (word == "--overwrite") {
            found.overwrite = true;
        } else if (word == "-q" || word == "--quiet") {
            found.quiet = true;
        } else if (word == "-h" || word == "--help") {
            found.help = true;
        } else {
            refuse("no option is called " + printable(word) + ".");
        }
    }
    if (places < 2 && !found.help) {
        refuse("no INPUT and OUTPUT.");
    }
    return found;
}
