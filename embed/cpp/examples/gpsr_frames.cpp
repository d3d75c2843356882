// gpsr-frames MODEL HEIGHTxWIDTH: raw RGB frames from stdin, enlarged to stdout, one after the other. For instance
//
//     ffmpeg -v error -i in.mkv -f rawvideo -pix_fmt rgb24 - | gpsr-frames gpsr_nano_x4.onnx 270x480 |
//         ffmpeg -f rawvideo -pix_fmt rgb24 -s 1920x1080 -r 25 -i - out.mkv
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <gpsr/gpsr.hpp>
#include <new>
#include <vector>

namespace {

int failed(int code, const char* clauses) {
    std::fprintf(stderr, "error[%d] %s\n", code, clauses);
    return code;
}

int run(const char* path, std::int64_t height, std::int64_t width) {
    gpsr::Model model(path); // once: a model takes longer to open than a frame to enlarge
    const std::int64_t scale = model.spec().scale;
    std::vector<std::uint8_t> lr(static_cast<std::size_t>(3 * height * width));
    std::vector<std::uint8_t> sr(lr.size() * static_cast<std::size_t>(scale * scale));
    const gpsr_picture from = gpsr::picture(lr.data(), height, width);
    const gpsr_picture to = gpsr::picture(sr.data(), height * scale, width * scale);

    for (;;) {
        const std::size_t read = std::fread(lr.data(), 1, lr.size(), stdin);
        if (read == 0 && std::feof(stdin) != 0) {
            break;
        }
        if (read != lr.size()) {
            return failed(3, "stdin ends in the middle of a frame. Expected whole frames of 3 bytes a pixel.");
        }
        model.upscale(from, to);
        if (std::fwrite(sr.data(), 1, sr.size(), stdout) != sr.size()) {
            return failed(4, "stdout cannot be written. Expected somebody who reads it.");
        }
    }
    return std::fflush(stdout) == 0 ? 0 : failed(4, "stdout cannot be written. Expected somebody who reads it.");
}

} // namespace

int main(int count, char** words) {
    std::signal(SIGPIPE, SIG_IGN); // or a reader that dies ends this program without a word
    long long height = 0, width = 0;
    char rest = 0;
    if (count != 3 || std::sscanf(words[2], "%6lldx%6lld%c", &height, &width, &rest) != 2 || height < 1 || width < 1) {
        return failed(2, "usage: gpsr-frames MODEL HEIGHTxWIDTH < frames > frames, 3 bytes (RGB) a pixel.");
    }
    try {
        return run(words[1], height, width);
    } catch (const gpsr::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return error.code();
    } catch (const std::bad_alloc&) {
        return failed(6, "no memory for a frame. Try: smaller ones.");
    }
}
