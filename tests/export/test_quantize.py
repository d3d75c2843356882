"""export/quantize.py: a file only where little is lost, and else the layer that costs most."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quantize
from gpsr_deploy import models, samples
from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend
from gpsr_deploy.backends.openvino import OpenVinoBackend
from gpsr_deploy.cli import program
from gpsr_deploy.media import images
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.proof import parity, quality
from gpsr_deploy.spec import MAX_LOSS_DB

MODEL = models.shipped(4)
NAMES = ["cheap", "dear", "dearest"]


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0, 1))
def test_as_many_as_are_within_what_is_allowed(steps, allowed):
    losses = np.cumsum([0, *steps])
    found = quantize.most_within(lambda count: losses[count], len(steps), allowed=allowed)
    assert found == max(count for count, loss in enumerate(losses) if loss <= allowed)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pieces of the photographs that ship, and two files that are none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in samples.photographs():
        pixels = images.read(path).pixels
        for number in range(4):
            piece = pixels[20 * number : 20 * number + 120, 30 * number : 30 * number + 132]
            images.write(folder / f"{path.stem}{number}.png", images.Picture(pixels=np.ascontiguousarray(piece)))
    (folder / "junk.png").write_bytes(b"junk")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_pictures_are_cut_reduced_and_spread_over_the_folder(photos: Path, capsys):
    found = quantize.pairs_of(photos, scale=4, most=100)
    assert len(found) == 12
    assert {pair.lr.shape for pair in found} == {(30, 33, 3)}
    assert "junk.png" in capsys.readouterr().err
    assert len(quantize.pairs_of(photos, scale=4, most=9)) in (8, 9)


class Fake:
    """A calibrated model whose layers cost what the test says."""

    names = dict.fromkeys(NAMES, "")
    work = dict.fromkeys(NAMES, 1)

    def __init__(self, model, pairs):
        self.source = model

    def ranked(self):
        return {name: float(number) for number, name in enumerate(NAMES)}

    def model(self, names, quality=None):
        return len(names) if quality is None else self.source


def run(photos: Path, target: Path, *options: str) -> int:
    return program.outcome(lambda: quantize.main([str(MODEL), "--images", str(photos), "-o", str(target), *options]))


@pytest.mark.parametrize(
    ("losses", "code", "says"),
    [
        ([0, 0.001, 0.002, 9], 0, "2 of 3"),
        ([0, 0.001, 9, math.inf], 0, "1 of 3"),
        ([0, 0.2, 9, 9], 7, "most of it in cheap"),
        ([0, math.inf, 9, 9], 7, "most of it in cheap"),
    ],
)
def test_the_gate(photos: Path, tmp_path: Path, monkeypatch, capsys, losses, code: int, says: str):
    monkeypatch.setattr(quantize, "Calibrated", Fake)
    monkeypatch.setattr(quantize, "losses", lambda count, reference, pairs: {"fp32": losses[count]})
    target = tmp_path / "x_int8.onnx"
    assert run(photos, target) == code
    told = capsys.readouterr()
    assert says in told.out + told.err
    assert target.exists() == (code == 0)
    assert [path for path in tmp_path.iterdir() if path != photos and path != target] == []


def test_pictures_that_took_no_part_decide(photos: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(quantize, "Calibrated", Fake)
    monkeypatch.setattr(quantize, "losses", lambda count, reference, pairs: {"fp32": 0.0 if len(pairs) > 3 else 0.06})
    assert run(photos, tmp_path / "x.onnx") == 7
    assert "0.060 dB" in capsys.readouterr().err
    assert run(photos, tmp_path / "x.onnx", "--max-loss", "0.07") == 0


@pytest.mark.parametrize(
    ("model", "code"), [("gpsr_nano_x4_fp16.onnx", 5), ("gpsr_nano_x4_int8.onnx", 5), ("none.onnx", 3)]
)
def test_only_a_model_in_fp32_is_quantised(photos: Path, tmp_path: Path, model: str, code: int, capsys):
    command = [str(MODEL.with_name(model)), "--images", str(photos), "-o", str(tmp_path / "x.onnx")]
    assert program.outcome(lambda: quantize.main(command)) == code
    assert capsys.readouterr().err.startswith(f"error[{code}]")


def test_too_few_pictures_are_refused(tmp_path: Path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "x.onnx") == 3
    assert "8 or more" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [4, 8])
def test_the_models_that_ship_run_alike_in_both_runtimes_and_lose_little(scale: int):
    model = onnx_file.read(models.shipped(scale, "int8"))
    assert model.quality.keeps("int8") and 0 < len(model.quality.float_layers) < 10
    pairs = quality.photographs(scale)
    with OpenVinoBackend(model, rest="fp32") as one, OnnxRuntimeBackend(model, device="cpu") as other:
        assert parity.tolerance_of("int8").accepts(parity.on_photographs(one, other, [(48, 60)]).agreement())
        found = quality.psnr_db(one, pairs)
    with OpenVinoBackend(onnx_file.read(models.shipped(scale))) as exact:
        assert -MAX_LOSS_DB <= quality.psnr_db(exact, pairs) - found <= MAX_LOSS_DB


@pytest.mark.slow
def test_a_model_is_quantised_for_real(photos: Path, tmp_path: Path, capsys):
    target = tmp_path / "x_int8.onnx"
    assert run(photos, target, "--max-loss", "0.5") == 0, capsys.readouterr().err
    model = onnx_file.read(target)
    assert model.spec.dtype == "int8" and model.quality.loss_db["int8"] <= 0.5
    assert 0 < len(model.quality.float_layers) < 75
    assert target.stat().st_size < 0.6 * MODEL.stat().st_size
