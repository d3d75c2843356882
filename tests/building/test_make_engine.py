"""An engine is proved at once where there is a GPU, here a double; one that computes something else never gets its name."""

import json

import numpy as np
import plans
import pytest
from builds import MODEL, giving, install, with_gpu
from outcomes import files, one_line
from plans import GPUS, Changed

from gpsr_deploy.cli import main
from gpsr_deploy.errors import ModelRefused
from gpsr_deploy.model_files import engine as engine_file

SMALL = ["--min", "3x3", "--opt", "9x9", "--max", "9x12", "--batch", "2"]


def build_with_gpu(folder, *arguments, gpus=GPUS):
    return main(["build", str(MODEL), "-o", str(folder / "x.plan"), "--gpu", ",".join(gpus), *SMALL, *arguments])


def test_an_engine_that_can_run_here_is_proved_at_once(tmp_path, capsys, monkeypatch):
    opened = with_gpu(monkeypatch)
    install(monkeypatch, giving(plans.plan()))
    assert build_with_gpu(tmp_path, "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["parity"] | {"images": 0} == {
        "images": 0,
        "psnr_db": None,
        "max_level": 0,
        "share_off_by_one": 0.0,
        "gpu": "NVIDIA Test 4090",
    }
    assert "onnx~engine on NVIDIA Test 4090: equal" in captured.err
    assert [engine.closed for engine in opened] == [True]
    assert max(shape[0] for shape in opened[0].shapes) == 2


def off(level):
    return lambda sr: sr + np.float32(level / 255)


def broken(value):
    def wrong(sr):
        sr = sr.copy()
        sr.flat[7] = value
        return sr

    return wrong


@pytest.mark.parametrize("wrong", [off(2), broken(np.nan), np.zeros_like], ids=["levels", "nan", "black"])
def test_an_engine_that_computes_something_else_is_7_and_never_gets_its_name(wrong, tmp_path, capsys, monkeypatch):
    with_gpu(monkeypatch, wrong)
    install(monkeypatch, giving(plans.plan()))
    assert build_with_gpu(tmp_path) == 7
    assert "differs from its ONNX model" in one_line(capsys, 7)
    assert files(tmp_path) == []
    before = engine_file.read(plans.write(tmp_path))
    assert build_with_gpu(tmp_path, "--overwrite") == 7
    assert engine_file.read(tmp_path / "x.plan") == before


def test_an_engine_that_cannot_be_run_is_not_left_either(tmp_path, capsys, monkeypatch):
    def fail(sr):
        raise ModelRefused("CUDA failed with cudaErrorIllegalAddress")

    with_gpu(monkeypatch, fail)
    install(monkeypatch, giving(plans.plan()))
    assert build_with_gpu(tmp_path) == 5
    assert "IllegalAddress" in one_line(capsys, 5)
    assert files(tmp_path) == []


def test_an_engine_for_other_gpus_is_not_proved_and_that_is_said(tmp_path, capsys, monkeypatch):
    opened = with_gpu(monkeypatch)
    install(monkeypatch, giving(plans.plan(("12.0",))))
    assert build_with_gpu(tmp_path, gpus=("12.0",)) == 0
    assert "not compared with the model yet: this GPU is a 8.9" in capsys.readouterr().err
    assert (opened, engine_file.read(tmp_path / "x.plan").spec.parity) == ([], None)


def test_tensorrt_builds_for_the_gpu_that_is_here_and_no_other(tmp_path, capsys, monkeypatch):
    with_gpu(monkeypatch)
    content = plans.plan(magic=b"ftrt")
    double = Changed(giving(content), ComputeCapability=None)
    install(monkeypatch, double)
    assert build_with_gpu(tmp_path, "--runtime", "tensorrt", gpus=("8.6",)) == 2
    assert "8.9, this GPU's" in one_line(capsys, 2)
    assert files(tmp_path) == []
    assert build_with_gpu(tmp_path, "--runtime", "tensorrt", gpus=("8.9",)) == 0
    found = engine_file.read(tmp_path / "x.plan").spec
    assert (found.runtime, found.compute_capabilities) == ("tensorrt", ("8.9",))
    assert found.parity is not None
