// The C++ interface: each template once, so that a compiler sees it.
#include <gpsr/gpsr.hpp>

void use_of_everything(const std::string& path, const std::uint16_t* lr, std::uint16_t* sr, float* floats) {
    gpsr::Model model(path, {"cpu", 4, 1, "fp32"});
    const auto spec = model.spec();
    const auto cut = model.cut(3, 3);
    model.upscale(gpsr::picture(lr, 3, 3, 1, GPSR_BGR), gpsr::picture(sr, 3 * spec.scale, 3 * spec.scale, 1));
    model.upscale(gpsr::picture(floats, 3, 3), gpsr::picture(floats + 27, cut.tiles, 3), {},
                  [](std::int64_t done, std::int64_t total) { return done < total; });
    gpsr::Model moved(std::move(model));
}
