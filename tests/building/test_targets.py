"""For which GPUs an engine is built, and by which TensorRT: all, those asked for, or the one that is here."""

import sys

import pytest
from builds import MODEL, SIZES, made, with_gpu, without_gpu
from outcomes import files, one_line

from gpsr_deploy.building.build import supported_capabilities
from gpsr_deploy.cli import main
from gpsr_deploy.errors import UsageError
from gpsr_deploy.model_files import engine as engine_file


def test_all_gpus_are_the_default_and_their_order_is_the_headers(model, trt, tmp_path, capsys):
    known = supported_capabilities(trt)
    assert set(known) == set(engine_file.CAPABILITY_BITS.values())
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *SIZES, "-q"]) == 0
    assert engine_file.read(tmp_path / "x.plan").spec.compute_capabilities == known
    assert capsys.readouterr().err == ""
    _, spec = made(model, trt, compute_capabilities=("12.0", "7.5"))
    assert spec.compute_capabilities == ("7.5", "12.0")


def test_an_unknown_gpu_is_a_usage_error(model, trt):
    for gpus in (("9.0",), ("8.9", "9.9"), ("8.9", "0.0")):
        with pytest.raises(UsageError, match=r"Expected compute capabilities .* 7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1"):
            made(model, trt, compute_capabilities=gpus)


@pytest.mark.parametrize("gpu", ["9.0", "8.9,9.0", "99.9"])
def test_an_unknown_gpu_is_2(gpu, tmp_path, capsys):
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), "--gpu", gpu]) == 2
    assert "--runtime tensorrt" in one_line(capsys, 2)
    assert files(tmp_path) == []


def test_tensorrt_without_a_gpu_is_5_and_names_what_builds_without_one(tmp_path, capsys, monkeypatch):
    without_gpu(monkeypatch)
    command = ["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *SIZES]
    assert main([*command, "--runtime", "tensorrt"]) == 5
    line = one_line(capsys, 5)
    assert "NVIDIA GPU" in line
    assert "--runtime tensorrt-rtx" in line
    assert "an .onnx model" not in line
    assert main([*command, "--device", "cuda:0"]) == 5
    assert "no CUDA device" in one_line(capsys, 5)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [([], "[rtx]"), (["--runtime", "tensorrt-rtx"], "[rtx]"), (["--runtime", "tensorrt"], "[trt]")],
)
def test_what_is_not_installed_is_named_with_its_extra(arguments, extra, tmp_path, capsys, monkeypatch):
    with_gpu(monkeypatch)
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *arguments, *SIZES]) == 5
    assert f"pip install gpsr-deploy{extra}" in one_line(capsys, 5)
    assert files(tmp_path) == []
