"""Which runtime and which precision run an ONNX model where that is left open: the fastest that keep its quality."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpsr_deploy import models
from gpsr_deploy.backends import Runtime, WantedPrecision, WantedRuntime
from gpsr_deploy.errors import UsageError
from gpsr_deploy.machine import cpu_flags
from gpsr_deploy.spec import Precision

if TYPE_CHECKING:
    from gpsr_deploy.model_files.onnx import OnnxModel

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Of processors on which an fp32 model runs in bf16, within a fifth of the time of int8 and nearer to fp32."""

INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni"})
"""Of processors on which, without these, a model in int8 is fastest."""


def dtype_for(
    scale: int, *, runtime: WantedRuntime, precision: WantedPrecision, device: str
) -> Literal["fp32", "int8"]:
    """Which file of the model that ships is to run: that in int8 where it is asked for, or fastest, else that in fp32."""
    if precision != "auto":
        return "int8" if precision == "int8" else "fp32"
    flags = cpu_flags()
    fastest = scale in models.INT8 and bool(flags & INT8_FLAGS) and not flags & BF16_FLAGS
    return "int8" if fastest and runtime in ("auto", "openvino") and _openvino_runs(device) else "fp32"


def shipped(scale: int, *, runtime: WantedRuntime, precision: WantedPrecision, device: str) -> Path:
    """The file of the model that ships for `scale`, as dtype_for says. Raises UsageError or ModelRefused."""
    return models.shipped(scale, dtype_for(scale, runtime=runtime, precision=precision, device=device))


def choose(
    model: OnnxModel, *, runtime: WantedRuntime, precision: WantedPrecision, device: str
) -> tuple[Runtime, Precision]:
    """What runs `model`, and in which precision.

    `auto`: the fastest that is installed, and that the model's Quality keeps. None: the exact one, which is ONNX Runtime
    where it is installed, and the type of the model's file. Raises UsageError where the model cannot be run as asked.
    """
    dtype = model.spec.dtype
    if precision not in (None, "auto", dtype) and (dtype, precision) != ("fp32", "bf16"):
        raise UsageError(
            f"precision {precision} of a model in {dtype}",
            expected="auto, fp32 or bf16" if dtype == "fp32" else f"auto, which is {dtype} here",
            remedy="python export/quantize.py" if precision == "int8" else f"a model in {precision}",
        )
    chosen = _runtime(runtime, precision, device)
    if chosen != "openvino":
        if precision == "bf16":
            lacks = runtime == "auto" and device in ("auto", "cpu")
            remedy = "pip install gpsr-deploy[cpu]" if lacks else "--runtime openvino --device cpu, or --precision fp32"
            raise UsageError(f"precision bf16 in {chosen}", expected="OpenVINO, on the CPU", remedy=remedy)
        return chosen, dtype
    if precision == "auto" and dtype == "fp32" and model.quality.keeps("bf16"):
        from gpsr_deploy.backends.openvino import computes_in_bf16

        return chosen, "bf16" if computes_in_bf16() else "fp32"
    return chosen, dtype if precision is None or precision == "auto" else precision


def _runtime(runtime: WantedRuntime, precision: WantedPrecision, device: str) -> Runtime:
    if runtime == "auto":
        on_cpu = precision == "bf16" and device in ("auto", "cpu") and _installed("openvino")
        return "openvino" if on_cpu or _openvino_runs(device) else "onnxruntime"
    if runtime is None:
        return "onnxruntime" if precision != "bf16" and _installed("onnxruntime") else "openvino"
    return runtime


def _openvino_runs(device: str) -> bool:
    """Whether OpenVINO is there, and `device` is the processor: `auto` is not where ONNX Runtime may have a GPU."""
    return _installed("openvino") and (device == "cpu" or (device == "auto" and not _onnxruntime_has_cuda()))


def _installed(module: str) -> bool:
    """Whether a module is there, without importing it."""
    return util.find_spec(module) is not None


def _onnxruntime_has_cuda() -> bool:
    found = util.find_spec("onnxruntime")
    places = (found.submodule_search_locations if found is not None else None) or ()
    return any(next(Path(place, "capi").glob("*onnxruntime_providers_cuda.*"), None) is not None for place in places)
