"""What `cmake --install` makes: found by another project, and running by itself."""

import os
import subprocess

import pytest
from cpp import CMAKE, netpbm, run

CONSUMER = """
cmake_minimum_required(VERSION 3.20)
project(consumer LANGUAGES C CXX)
find_package(gpsr 0.1 REQUIRED)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer PRIVATE gpsr::gpsr)
set_target_properties(consumer PROPERTIES CXX_STANDARD 17)
"""

CONSUMER_CPP = """
#include <cstdio>
#include <gpsr/gpsr.hpp>

int main(int, char** words) {
    try {
        gpsr::Model model(words[1], {"cpu", 2, 1});
        std::uint8_t lr[] = {1, 2, 3, 250, 251, 252}, sr[24];
        try {
            model.upscale(gpsr::picture(lr, 1, 2), gpsr::picture(sr, 2, 4), {}, [](auto, auto) -> bool { throw 7; });
        } catch (int thrown) {
            std::printf("%d ", thrown);
        }
        model.upscale(gpsr::picture<const std::uint8_t>(lr, 1, 2), gpsr::picture(sr, 2, 4, 3, GPSR_BGR));
        for (const int sample : sr) {
            std::printf("%d ", sample);
        }
        model.upscale(gpsr::picture(lr, 1, 2), gpsr::picture(sr, 2, 2));
    } catch (const gpsr::Error& error) {
        std::printf("%d %s", static_cast<int>(error.code()), error.what());
    }
}
"""


def unhelped():
    """An environment that does not say where libraries lie."""
    return {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    prefix = tmp_path_factory.mktemp("installed")
    run(CMAKE, "--install", built.folder, "--prefix", prefix)
    return prefix


def test_a_program_finds_the_installed_library(installed, doubling, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER)
    (tmp_path / "consumer.cpp").write_text(CONSUMER_CPP)
    run(CMAKE, "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={installed}")
    run(CMAKE, "--build", tmp_path / "build")
    said = run(tmp_path / "build" / "consumer", doubling, env=unhelped())
    row = "3 2 1 3 2 1 252 251 250 252 251 250 "
    assert (
        said
        == "7 "
        + row
        + row
        + "2 error[2] sr is 2x2 with 3 channels of 1 bytes. Expected 2x4, and lr's channels and type."
    )


def test_the_installed_program_finds_the_library_the_runtime_and_the_models(installed, photo, tmp_path):
    (tmp_path / "in.ppm").write_bytes(netpbm(photo[:9, :9]))
    ended = subprocess.run(
        [installed / "bin" / "gpsr-cpp", tmp_path / "in.ppm", tmp_path / "out.ppm"],
        env=unhelped(),
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert b"36x36" in ended.stderr
