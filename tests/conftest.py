"""Models and pictures that several test files share, and what GPU tests need."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest
import surroundings
from networks import with_noise
from numpy.typing import NDArray
from once import once

from gpsr_deploy import samples
from gpsr_deploy.spec import SRSpec

if TYPE_CHECKING:
    from gpsr_deploy.network.gpsr import GPSR

# The same examples in every run, with or without CI, and no limit on their time: a busy machine must not fail a test.
hypothesis.settings.register_profile(
    "here",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("here")


def pytest_sessionstart() -> None:
    surroundings.settle()


def pytest_collection_finish(session: pytest.Session) -> None:
    if not any(item.get_closest_marker("gpu") for item in session.items):
        surroundings.hide_gpus()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    surroundings.seed()  # once more: what fixtures drew depends on which of them were there already


def pytest_runtest_setup(item: pytest.Item) -> None:
    surroundings.seed()
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.get_closest_marker("gpu") and os.environ.get("GPSR_REQUIRE_GPU") == "1":
        report.outcome = "failed"
        report.longrepr = f"GPSR_REQUIRE_GPU=1, but the test was skipped: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def nano() -> GPSR:
    """`nano` x4 with random weights, around its start at bicubic. Not to be changed."""
    import torch

    from gpsr_deploy.network.gpsr import build

    torch.manual_seed(0)
    return with_noise(build("nano", scale=4))


@pytest.fixture(scope="session")
def checkpoint_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """`nano` as a checkpoint."""
    from gpsr_deploy.model_files import checkpoint as checkpoint_file

    def make(folder: Path) -> None:
        nano: GPSR = request.getfixturevalue("nano")
        checkpoint_file.save(nano, folder / "nano.safetensors", member="nano", training={"data": "none"})

    return once(tmp_path_factory, "checkpoint", make) / "nano.safetensors"


@pytest.fixture(scope="session")
def onnx_path(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """`nano`, folded, as an ONNX file with a spec: what export/to_onnx.py writes, without its measurements."""

    def make(folder: Path) -> None:
        import to_onnx
        from gpsr_deploy.model_files import checkpoint as checkpoint_file
        from gpsr_deploy.model_files import onnx as onnx_file
        from gpsr_deploy.network.folds import fold

        info = checkpoint_file.read_info(checkpoint_path)
        spec = SRSpec(
            name=info.name, scale=4, halo=24, multiple_of=3, tiling="aligned", dtype="fp32", checkpoint_sha256=info.sha256
        )  # fmt: skip
        graph = to_onnx.to_graph(fold(request.getfixturevalue("nano")), "fp32")
        (folder / "nano.onnx").write_bytes(onnx_file.stamped(graph, spec))

    return once(tmp_path_factory, "onnx", make) / "nano.onnx"


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    """A photograph, (256, 256, 3) RGB."""
    import cv2

    (path,) = (path for path in samples.photographs() if path.stem == "astronaut")
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(bgr[:, :, ::-1])
