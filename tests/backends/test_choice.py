"""What runs an ONNX model where that is left open: the fastest that keeps its quality, and never what was not asked for."""

import dataclasses
from types import SimpleNamespace

import pytest

from gpsr_deploy.backends import choice
from gpsr_deploy.errors import UsageError
from gpsr_deploy.spec import MAX_LOSS_DB, Quality

KEEPS = Quality(loss_db={"bf16": MAX_LOSS_DB})
LOSES = Quality(loss_db={"bf16": MAX_LOSS_DB + 1e-6})
UNKNOWN = Quality(loss_db={})


def model(dtype="fp32", quality=KEEPS):
    return SimpleNamespace(spec=SimpleNamespace(dtype=dtype), quality=quality)


@pytest.fixture
def machine(monkeypatch):
    """A machine with both runtimes, whose processor has bf16; what is asked for is changed."""

    def made(*, installed=("openvino", "onnxruntime"), bf16=True, flags=(), cuda=False):
        monkeypatch.setattr(choice, "_installed", lambda module: module in installed)
        monkeypatch.setattr(choice, "_onnxruntime_has_cuda", lambda: cuda)
        monkeypatch.setattr(choice, "cpu_flags", lambda: frozenset(flags))
        monkeypatch.setattr("gpsr_deploy.backends.openvino.computes_in_bf16", lambda: bf16)

    made()
    return made


def chosen(one=None, *, runtime="auto", precision="auto", device="auto"):
    return choice.choose(one or model(), runtime=runtime, precision=precision, device=device)


def test_the_fastest_is_openvino_in_bf16_where_that_keeps_the_quality(machine):
    assert chosen() == ("openvino", "bf16")
    assert chosen(model(quality=LOSES)) == ("openvino", "fp32")
    assert chosen(model(quality=UNKNOWN)) == ("openvino", "fp32")
    machine(bf16=False)
    assert chosen() == ("openvino", "fp32")
    machine(installed=["onnxruntime"])
    assert chosen() == ("onnxruntime", "fp32")


@pytest.mark.parametrize("dtype", ["fp16", "int8"])
def test_a_model_in_another_type_runs_in_its_own(machine, dtype):
    assert chosen(model(dtype)) == ("openvino", dtype)
    assert chosen(model(dtype), runtime="onnxruntime") == ("onnxruntime", dtype)
    for precision in {"fp32", "bf16", "int8"} - {dtype}:
        with pytest.raises(UsageError, match=f"which is {dtype}"):
            chosen(model(dtype), precision=precision)


def test_what_is_asked_for_is_what_runs(machine):
    assert chosen(precision="fp32") == ("openvino", "fp32")
    assert chosen(precision="bf16") == ("openvino", "bf16")
    assert chosen(model(quality=LOSES), precision="bf16") == ("openvino", "bf16")
    assert chosen(runtime="onnxruntime") == ("onnxruntime", "fp32")
    with pytest.raises(UsageError, match="bf16 in onnxruntime"):
        chosen(runtime="onnxruntime", precision="bf16")
    with pytest.raises(UsageError, match="quantize"):
        chosen(precision="int8")


def test_nothing_said_is_exact(machine):
    assert chosen(runtime=None, precision=None) == ("onnxruntime", "fp32")
    assert chosen(runtime=None, precision="bf16") == ("openvino", "bf16")
    machine(installed=["openvino"])
    assert chosen(runtime=None, precision=None) == ("openvino", "fp32")


def test_a_gpu_is_onnx_runtimes(machine):
    assert chosen(device="cuda:1") == ("onnxruntime", "fp32")
    machine(cuda=True)
    assert chosen() == ("onnxruntime", "fp32")
    assert chosen(device="cpu") == ("openvino", "bf16")


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ({"avx2"}, "fp32"),
        ({"avx512_vnni"}, "int8"),
        ({"avx_vnni"}, "int8"),
        ({"avx512_vnni", "avx512_bf16"}, "fp32"),
        ({"avx_vnni", "amx_bf16"}, "fp32"),
        (set(), "fp32"),
    ],
)
def test_of_two_files_int8_runs_where_nothing_is_faster(machine, flags, dtype):
    machine(flags=flags)
    assert choice.dtype_for(4, runtime="auto", precision="auto", device="auto") == dtype
    assert choice.dtype_for(4, runtime="onnxruntime", precision="auto", device="auto") == "fp32"
    assert choice.dtype_for(4, runtime="auto", precision="auto", device="cuda") == "fp32"
    assert choice.dtype_for(4, runtime="auto", precision="int8", device="auto") == "int8"
    assert choice.dtype_for(4, runtime="auto", precision="bf16", device="auto") == "fp32"


def test_a_quality_keeps_what_was_measured_and_is_within_the_limit():
    assert KEEPS.keeps("bf16") and not LOSES.keeps("bf16") and not UNKNOWN.keeps("bf16")
    assert dataclasses.replace(KEEPS, loss_db={"bf16": -0.1}).keeps("bf16")
