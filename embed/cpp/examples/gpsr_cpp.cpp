// gpsr-cpp INPUT OUTPUT: one picture in, its super-resolution out. What a program around the library looks like.
#include "arguments.hpp"
#include "failure.hpp"
#include "output_file.hpp"
#include "pixels.hpp"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <new>
#include <unistd.h>

namespace {

volatile std::sig_atomic_t signalled = 0;

// The tile at hand is finished and no other begun; where it takes longer than a second the process ends where it
// stands.
extern "C" void on_signal(int number) {
    if (number == SIGALRM) {
        _exit(128 + static_cast<int>(signalled));
    }
    signalled = number;
    alarm(1);
}

enum class Format { pnm, png };

Format format_of(const std::string& output) {
    const std::string suffix = std::filesystem::path(output).extension().string();
    if (suffix == ".ppm" || suffix == ".pgm" || suffix == ".pnm") {
        return Format::pnm;
    }
#ifdef GPSR_WITH_PNG
    if (suffix == ".png") {
        return Format::png;
    }
    throw Failure(unwritable, output, "no format is known by this name. Expected .png, .ppm or .pgm.");
#else
    throw Failure(unwritable, output,
                  "this gpsr-cpp writes no such format. Expected .ppm or .pgm, or a build with libpng.");
#endif
}

std::vector<std::uint8_t> bytes_of(const std::string& path) {
    std::error_code failure;
    if (!std::filesystem::is_regular_file(path, failure)) {
        throw Failure(unreadable, path, "this is no regular file, or none at all. Expected a picture.");
    }
    std::ifstream file(path, std::ios::binary);
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(std::filesystem::file_size(path, failure)));
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!file) {
        throw Failure(unreadable, path, "cannot be read. Expected a picture.");
    }
    return bytes;
}

Pixels read(const std::string& path) {
    const auto file = bytes_of(path);
    if (file.size() > 2 && file[0] == 'P' && (file[1] == '5' || file[1] == '6')) {
        return read_pnm(path, file);
    }
#ifdef GPSR_WITH_PNG
    if (file.size() > 4 && file[0] == 0x89 && file[1] == 'P' && file[2] == 'N' && file[3] == 'G') {
        return read_png(path, file);
    }
    throw Failure(unreadable, path, "this is no picture of a known kind. Expected PNG, PPM or PGM.");
#else
    throw Failure(unreadable, path, "this is no picture of a known kind. Expected PPM or PGM, or a build with libpng.");
#endif
}

// The model that ships for `scale`, the one in int8 where that is asked for and there: it lies beside the program,
// where both were built or installed.
std::string shipped(int scale, const std::string& precision) {
    std::error_code failure;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", failure);
    const auto folder = failure ? std::filesystem::path(".") : program.parent_path() / ".." / "share" / "gpsr";
    const std::string name = "gpsr_nano_x" + std::to_string(scale == 0 ? 4 : scale);
    const auto in_int8 = folder / (name + "_int8.onnx");
    const bool is_there = precision == "int8" && std::filesystem::exists(in_int8, failure);
    return (is_there ? in_int8 : folder / (name + ".onnx")).lexically_normal().string();
}

int run(const Arguments& wanted) {
    const auto begin = std::chrono::steady_clock::now();
    std::error_code failure;
    if (std::filesystem::equivalent(wanted.input, wanted.output, failure)) {
        throw Failure(usage_error, wanted.output, "the output is the input. Expected another name.");
    }
    const Format format = format_of(wanted.output);
    require_writable(wanted.output, wanted.overwrite);
    Pixels lr = read(wanted.input);
    gpsr::Model model(wanted.engine.empty() ? shipped(wanted.open.scale, wanted.open.precision) : wanted.engine,
                      wanted.open);

    const std::int64_t scale = model.spec().scale;
    Pixels sr{lr.height * scale, lr.width * scale, lr.channels, lr.type};
    sr.samples.resize(sr.row_bytes() * static_cast<std::size_t>(sr.height));
    std::int64_t tiles = 0;
    model.upscale(lr.picture(), sr.picture(), wanted.run, [&](std::int64_t done, std::int64_t) {
        tiles = done;
        return signalled == 0;
    });

    write_whole(wanted.output, format == Format::png ? png_bytes(sr) : pnm_bytes(sr), wanted.overwrite);
    if (!wanted.quiet) {
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
        std::fprintf(stderr, "%s -> %s: %lldx%lld, %lld tiles, %.2f s\n", printable(wanted.input).c_str(),
                     printable(wanted.output).c_str(), static_cast<long long>(sr.width),
                     static_cast<long long>(sr.height), static_cast<long long>(tiles), seconds.count());
    }
    return 0;
}

int failed(int code, const char* line) {
    std::fprintf(stderr, "%s\n", line);
    return code;
}

} // namespace

int main(int count, char** words) {
    for (const int number : {SIGINT, SIGTERM, SIGALRM}) {
        std::signal(number, on_signal);
    }
    try {
        const Arguments wanted = parse(count, words);
        if (wanted.help) {
            std::fputs(help_text, stdout);
            return 0;
        }
        return run(wanted);
    } catch (const gpsr::Error& error) {
        return error.code() == GPSR_CANCELLED ? 128 + static_cast<int>(signalled) : failed(error.code(), error.what());
    } catch (const Failure& error) {
        return failed(error.code, error.what());
    } catch (const std::bad_alloc&) {
        return failed(out_of_memory, "error[6] no memory for this picture. Try: a smaller picture.");
    } catch (const std::exception& error) {
        return failed(1, ("error[1] a bug of ours (" + printable(error.what()) + ").").c_str());
    }
}
