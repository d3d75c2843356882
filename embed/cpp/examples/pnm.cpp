// PPM and PGM (P6, P5), of 8 or 16 bits.
#include "failure.hpp"
#include "pixels.hpp"

#include <algorithm>
#include <cctype>

namespace {

// Samples of 16 bits are big-endian in the file.
void swap_to_big_endian(std::vector<std::uint8_t>& samples) {
    const std::uint16_t one = 1;
    if (*reinterpret_cast<const unsigned char*>(&one) == 1) {
        for (std::size_t index = 0; index + 1 < samples.size(); index += 2) {
            std::swap(samples[index], samples[index + 1]);
        }
    }
}

class Header {
  public:
    Header(const std::string& path, const std::vector<std::uint8_t>& file) : path_(path), file_(file) {}

    // The next number of the header; spaces and comments before it are passed over.
    std::int64_t number() {
        while (place < file_.size() && (std::isspace(file_[place]) != 0 || file_[place] == '#')) {
            if (file_[place] == '#') {
                place = static_cast<std::size_t>(
                    std::find(file_.begin() + static_cast<std::ptrdiff_t>(place), file_.end(), '\n') - file_.begin());
            } else {
                ++place;
            }
        }
        std::int64_t value = 0;
        const std::size_t begin = place;
        for (; place < file_.size() && file_[place] >= '0' && file_[place] <= '9' && place < begin + 9; ++place) {
            value = 10 * value + (file_[place] - '0');
        }
        if (place == begin) {
            throw Failure(unreadable, path_, "the header is damaged. Expected a PPM or PGM.");
        }
        return value;
    }

    std::size_t place = 2;

  private:
    const std::string& path_;
    const std::vector<std::uint8_t>& file_;
};

} // namespace

Pixels read_pnm(const std::string& path, const std::vector<std::uint8_t>& file) {
    Header header(path, file);
    Pixels pixels;
    pixels.channels = file[1] == '6' ? 3 : 1;
    pixels.width = header.number();
    pixels.height = header.number();
    const std::int64_t peak = header.number();
    if (peak != 255 && peak != 65535) {
        throw Failure(unreadable, path, "values go up to " + std::to_string(peak) + ". Expected 255 or 65535.");
    }
    pixels.type = peak == 255 ? GPSR_U8 : GPSR_U16;
    const std::int64_t height = pixels.height, width = pixels.width;
    if (height < 1 || width < 1 || std::max(height, width) > max_side || height * width > max_pixels) {
        throw Failure(unreadable, path,
                      "the header claims " + std::to_string(height) + "x" + std::to_string(width) + " pixels.");
    }
    const std::size_t begin = header.place + 1, expected = pixels.row_bytes() * static_cast<std::size_t>(height);
    if (begin > file.size() || file.size() - begin != expected) {
        throw Failure(unreadable, path, "the file is not as long as its header says. Expected one whole picture.");
    }
    pixels.samples.assign(file.begin() + static_cast<std::ptrdiff_t>(begin), file.end());
    if (pixels.type == GPSR_U16) {
        swap_to_big_endian(pixels.samples);
    }
    return pixels;
}

std::vector<std::uint8_t> pnm_bytes(const Pixels& pixels) {
    const std::string header = std::string(pixels.channels == 3 ? "P6" : "P5") + "\n" + std::to_string(pixels.width) +
                               " " + std::to_string(pixels.height) + (pixels.type == GPSR_U8 ? "\n255\n" : "\n65535\n");
    std::vector<std::uint8_t> samples = pixels.samples;
    if (pixels.type == GPSR_U16) {
        swap_to_big_endian(samples);
    }
    std::vector<std::uint8_t> file(header.begin(), header.end());
    file.insert(file.end(), samples.begin(), samples.end());
    return file;
}
