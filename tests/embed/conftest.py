"""One build of embed/cpp for all its tests, and what several of them open."""

import os
from pathlib import Path

import numpy as np
import pytest
from once import once

pytest.register_assert_rewrite("cpp")  # whose assertions tell then what they found
from cpp import CMAKE, COMPILER, Build, configured, tiny  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def tools():
    if not CMAKE or not COMPILER:
        pytest.skip("no CMake, or no C++ compiler")


@pytest.fixture(scope="session")
def built(tools, tmp_path_factory):
    """One build for all tests, whichever process runs them; a slow test hands over another one, with sanitizers in it."""
    if "GPSR_CPP_BUILD" in os.environ:
        return Build.found(Path(os.environ["GPSR_CPP_BUILD"]))
    # In few units and hardly optimised, which takes a third of the time: a slow test builds it as users do.
    quick = ["-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=5", "-DCMAKE_CXX_FLAGS_RELEASE=-O1"]
    options = ("-DGPSR_TESTS=ON", "-DCMAKE_INSTALL_LIBDIR=lib", *quick)
    return Build.found(once(tmp_path_factory, "cpp", lambda folder: configured(folder, *options)))


@pytest.fixture(scope="session")
def library(built):
    return built.library("gpsr")


@pytest.fixture(scope="session")
def doubling(tmp_path_factory):
    """A model of scale 2 that repeats each pixel."""
    path = tmp_path_factory.mktemp("models") / "double.onnx"
    path.write_bytes(tiny().SerializeToString())
    return path


@pytest.fixture(scope="session")
def photo_16(photo):
    """A piece of a photograph in 16 bits, all of whose values differ from those of 8."""
    return photo[:70, :95].astype(np.uint16) * 251 + np.arange(95, dtype=np.uint16)[None, :, None]
