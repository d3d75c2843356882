"""The export program: it leaves a checked file or none."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from project import ROOT

from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend
from gpsr_deploy.errors import ModelRefused, OutputUnwritable, ParityFailed, UsageError
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.proof import parity
from gpsr_deploy.spec import SRSpec
from gpsr_deploy.upscaling.upscale import SMALLEST_KEEP, Tiling, upscale

PROGRAM = ROOT / "export" / "to_onnx.py"


@pytest.fixture
def program():
    import to_onnx

    return to_onnx


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_export_is_checked_measured_and_stamped(
    tmp_path: Path, checkpoint_path: Path, program, precision: str, capsys
):
    output = tmp_path / "model.onnx"
    assert program.main(["--checkpoint", str(checkpoint_path), "--precision", precision, "-o", str(output)]) == 0
    model = onnx_file.read(output)
    assert model.spec.dtype == precision
    assert model.spec.checkpoint_sha256 == checkpoint_file.read_info(checkpoint_path).sha256
    assert model.spec.halo % 3 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    graph = onnx.load_model_from_string(model.content).graph
    dims = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, "height", "width"]


def test_the_measured_halo_is_the_smallest(program, onnx_path: Path):
    with OnnxRuntimeBackend(onnx_file.read(onnx_path)) as backend:
        halo, agreement = program.measure_halo(backend)
        assert agreement.max_level <= 1
        assert agreement.share_off_by_one <= parity.TILED_SHARE
        if halo > 3:
            size, side = 2 * (halo - 3) + SMALLEST_KEEP, 2 * (halo - 3) + program.TILES_PER_SIDE * SMALLEST_KEEP
            pictures = parity.photographs((side, side))
            tiled = [
                upscale(backend, picture, tiling=Tiling(tile=(size, size), halo=halo - 3)).sr for picture in pictures
            ]
            smaller = parity.compare(tiled, [parity.whole(backend, picture) for picture in pictures]).agreement()
            assert smaller.max_level > 1 or smaller.share_off_by_one > parity.TILED_SHARE


class SeesAll:
    """A backend whose every pixel depends on the whole batch: no halo is enough for it."""

    profile = None
    runtime = device = "fake"
    precision = "fp32"
    bytes_per_pixel = 1000
    spec = SRSpec(name="f", scale=4, halo=3, multiple_of=3, tiling="aligned", dtype="fp32", checkpoint_sha256="0" * 64)

    def infer(self, batch: np.ndarray) -> np.ndarray:
        mean = batch.mean(axis=(2, 3), keepdims=True)
        return (0.5 * batch + 0.5 * mean).repeat(4, 2).repeat(4, 3)


def test_no_halo_is_found_where_none_is_enough(program):
    with pytest.raises(ParityFailed):
        program.measure_halo(SeesAll())


@pytest.mark.parametrize("name", ["weights.safetensors", "model.plan", "missing/model.onnx", "folder.onnx"])
def test_an_output_that_cannot_be_is_refused_before_the_work(tmp_path: Path, checkpoint_path: Path, program, name: str):
    (tmp_path / "folder.onnx").mkdir()
    copy = tmp_path / "weights.safetensors"
    copy.write_bytes(checkpoint_path.read_bytes())
    with pytest.raises((UsageError, OutputUnwritable)):
        program.export(copy, tmp_path / name, dtype="fp32")
    assert copy.read_bytes() == checkpoint_path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "weights.safetensors"]


def test_a_graph_that_differs_leaves_no_file(tmp_path: Path, checkpoint_path: Path, program, monkeypatch):
    def wrong(network):
        folded = program_fold(network)
        with torch.no_grad():
            folded.tail.bias += 2e-5
        return folded

    program_fold = program.fold
    monkeypatch.setattr(program, "fold", wrong)
    with pytest.raises(ParityFailed):
        program.export(checkpoint_path, tmp_path / "model.onnx", dtype="fp32")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_overflow_in_fp16_leave_no_file(tmp_path: Path, checkpoint_path: Path, program):
    network, info = checkpoint_file.load(checkpoint_path)
    with torch.no_grad():
        network.decoders[1].blocks[0].gate.weight *= 1e7
    checkpoint_file.save(network, tmp_path / "wild.safetensors", member="nano", training={})
    with pytest.raises((ParityFailed, ModelRefused)):
        program.export(tmp_path / "wild.safetensors", tmp_path / "model.onnx", dtype="fp16")
    assert [path.name for path in tmp_path.iterdir()] == ["wild.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--checkpoint", "missing.safetensors"], 3),
        (["--model", "lite", "--scale", "8"], 3),
        (["--model", "huge"], 2),
    ],
)
def test_bad_requests_get_one_line_and_their_code(tmp_path: Path, arguments: list[str], code: int):
    result = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments, "-o", str(tmp_path / "m.onnx")], capture_output=True, text=True
    )
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
