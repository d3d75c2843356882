// The C interface as C++17: a model closes itself, and what fails throws. Header only: the library's ABI is C.
#ifndef GPSR_GPSR_HPP
#define GPSR_GPSR_HPP

#include <cstdint>
#include <exception>
#include <functional>
#include <gpsr/gpsr.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace gpsr {

// What a call had to say, one line, and its code.
class Error : public std::runtime_error {
  public:
    Error(gpsr_status code, const std::string& line) : std::runtime_error(line), code_(code) {}
    gpsr_status code() const noexcept { return code_; }

  private:
    gpsr_status code_;
};

// A picture of a type that C++ knows, without gaps between its rows. `Sample` is uint8_t, uint16_t or float; of an LR
// picture it may be const. For other layouts fill a gpsr_picture.
template <class Sample>
gpsr_picture picture(Sample* pixels, std::int64_t height, std::int64_t width, std::int32_t channels = 3,
                     gpsr_order order = GPSR_RGB) {
    using Plain = std::remove_const_t<Sample>;
    static_assert(std::is_same_v<Plain, std::uint8_t> || std::is_same_v<Plain, std::uint16_t> ||
                      std::is_same_v<Plain, float>,
                  "samples are uint8_t, uint16_t or float");
    gpsr_picture made{};
    made.struct_size = sizeof made;
    made.pixels = const_cast<Plain*>(pixels);
    made.height = height;
    made.width = width;
    made.type = static_cast<gpsr_type>(sizeof(Plain));
    made.channels = channels;
    made.order = order;
    return made;
}

// Fields of gpsr_open_options, all of them optional.
struct OpenOptions {
    std::string device = "auto";
    std::int32_t scale = 0;
    std::int32_t threads = 0;
    std::string precision = "auto";
};

// Told (tiles done, tiles in all); false cancels. What it throws is thrown again by `upscale`.
using Progress = std::function<bool(std::int64_t, std::int64_t)>;

// A model that is ready to run, for one thread at a time. Errors are thrown as gpsr::Error.
class Model {
  public:
    explicit Model(const std::string& path, const OpenOptions& options = {}) {
        gpsr_open_options wanted{};
        wanted.struct_size = sizeof wanted;
        wanted.device = options.device.c_str();
        wanted.scale = options.scale;
        wanted.threads = options.threads;
        if (options.precision != "auto") { // which an earlier library takes for granted
            wanted.precision = options.precision.c_str();
        }
        gpsr_model* opened = nullptr;
        const gpsr_status status = gpsr_open(path.c_str(), &wanted, &opened);
        model_.reset(opened);
        require(status);
    }

    gpsr_spec spec() const {
        gpsr_spec found{};
        found.struct_size = sizeof found;
        require(gpsr_get_spec(model_.get(), &found));
        return found;
    }

    gpsr_cut cut(std::int64_t height, std::int64_t width, gpsr_run_options options = {}) const {
        gpsr_cut found{};
        found.struct_size = sizeof found;
        options.struct_size = sizeof options;
        require(gpsr_get_cut(model_.get(), height, width, &options, &found));
        return found;
    }

    // See gpsr_upscale. `progress` takes the place of the one in `options`.
    void upscale(const gpsr_picture& lr, const gpsr_picture& sr, gpsr_run_options options = {},
                 const Progress& progress = {}) {
        options.struct_size = sizeof options;
        Called called{progress, {}};
        if (progress) {
            options.progress = &Called::tell;
            options.user = &called;
        }
        const gpsr_status status = gpsr_upscale(model_.get(), &lr, &sr, &options);
        if (called.thrown) {
            std::rethrow_exception(called.thrown);
        }
        require(status);
    }

  private:
    struct Closed {
        void operator()(gpsr_model* model) const noexcept { gpsr_close(model); }
    };

    struct Called {
        const Progress& progress;
        std::exception_ptr thrown;

        static std::int32_t tell(void* user, std::int64_t done, std::int64_t total) noexcept {
            auto& called = *static_cast<Called*>(user);
            try {
                return called.progress(done, total) ? 0 : 1;
            } catch (...) { // it goes on in C++, past the C in between
                called.thrown = std::current_exception();
                return 1;
            }
        }
    };

    void require(gpsr_status status) const {
        if (status != GPSR_OK) {
            throw Error(status, model_ ? gpsr_error(model_.get()) : "error[6] no memory to open a model.");
        }
    }

    std::unique_ptr<gpsr_model, Closed> model_;
};

} // namespace gpsr

#endif
