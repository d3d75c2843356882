"""Models and pictures that several test files share, and what GPU tests need."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest
from networks import with_noise
from numpy.typing import NDArray

from gpsr_deploy import samples
from gpsr_deploy.spec import SRSpec

if TYPE_CHECKING:
    from gpsr_deploy.network.gpsr import GPSR

# Pictures are tiny here: threads would spin for each other, ten times as long as the work on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run, and no limit on their time: a busy machine must not fail a test.
hypothesis.settings.register_profile("here", deadline=None, derandomize=True)
hypothesis.settings.load_profile("here")


def pytest_runtest_setup(item: pytest.Item) -> None:
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
def checkpoint_path(nano: GPSR, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`nano` as a checkpoint."""
    from gpsr_deploy.model_files import checkpoint as checkpoint_file

    path = tmp_path_factory.mktemp("checkpoint") / "nano.safetensors"
    checkpoint_file.save(nano, path, member="nano", training={"data": "none"})
    return path


@pytest.fixture(scope="session")
def onnx_path(nano: GPSR, checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`nano`, folded, as an ONNX file with a spec: what export/to_onnx.py writes, without its measurements."""
    import to_onnx
    from gpsr_deploy.model_files import checkpoint as checkpoint_file
    from gpsr_deploy.model_files import onnx as onnx_file
    from gpsr_deploy.network.folds import fold

    info = checkpoint_file.read_info(checkpoint_path)
    spec = SRSpec(
        name=info.name, scale=4, halo=24, multiple_of=3, tiling="aligned", dtype="fp32", checkpoint_sha256=info.sha256
    )
    path = tmp_path_factory.mktemp("onnx") / "nano.onnx"
    path.write_bytes(onnx_file.stamped(to_onnx.to_graph(fold(nano), "fp32"), spec))
    return path


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    """A photograph, (256, 256, 3) RGB."""
    import cv2

    (path,) = (path for path in samples.photographs() if path.stem == "astronaut")
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(bgr[:, :, ::-1])
