"""An engine's proof: compared with the ONNX model that it was built from, once, where it can run; kept in its sidecar."""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpsr_deploy import models
from gpsr_deploy.backends import Backend
from gpsr_deploy.errors import BackendUnavailable, GpsrError, OutputUnwritable, ParityFailed, printable
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files import gate
from gpsr_deploy.proof import parity
from gpsr_deploy.proof.parity import Agreement, Comparison, Tolerance
from gpsr_deploy.spec import ENGINE_RUNTIMES, EngineSpec, Parity

if TYPE_CHECKING:
    from gpsr_deploy.backends.cuda import Cuda
    from gpsr_deploy.backends.tensorrt import TensorRtBackend
    from gpsr_deploy.model_files.onnx import OnnxModel

SIZES = ((96, 96), (51, 120), (3, 6))
"""LR (height, width) that are compared, moved into the engine's profile."""


def tolerance_of(spec: EngineSpec) -> Tolerance:
    """How far an engine may be from its ONNX model."""
    return parity.tolerance_of(spec.sr.dtype)


def is_proved(backend: TensorRtBackend) -> bool:
    """Whether the sidecar holds a comparison that was good enough, made on a GPU like this one."""
    spec = backend.engine
    if spec is None or spec.parity is None:
        return False
    found = spec.parity
    told = Agreement(
        images=found.images,
        max_difference=0.0,
        psnr_db=math.inf if found.psnr_db is None else found.psnr_db,
        max_level=found.max_level,
        share_off_by_one=found.share_off_by_one,
        non_finite=0,
    )
    return tolerance_of(spec).accepts(told) and found.gpu == gpu_name(backend)


def gpu_name(backend: TensorRtBackend) -> str:
    """The GPU's name as a sidecar can hold it."""
    return "".join(c for c in backend.gpu if c.isprintable())[:100] or "unnamed"


def compare(backend: TensorRtBackend, model: OnnxModel) -> Comparison:
    """The engine against ONNX Runtime on the CPU, on the photographs that ship. Raises BackendUnavailable without that."""
    from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend

    sizes = sorted({backend.profile.nearest(size) for size in SIZES}, reverse=True)
    with OnnxRuntimeBackend(model, device="cpu") as reference:
        return parity.on_photographs(backend, reference, sizes)


def prove(backend: TensorRtBackend, spec: EngineSpec, model: OnnxModel) -> EngineSpec:
    """The sidecar with what was found. Raises ParityFailed where the engine does not compute what its model computes."""
    found = compare(backend, model).agreement()
    if not tolerance_of(spec).accepts(found):
        broken = f", {found.non_finite} values NaN or infinite" if found.non_finite else ""
        raise ParityFailed(
            f"the engine differs from its ONNX model by {found.psnr_db:.1f} dB, {found.max_level} levels{broken}",
            expected=f"at least {tolerance_of(spec).min_psnr_db:g} dB and at most {_levels(tolerance_of(spec).max_level)}",
            remedy=_remedy(spec, model),
        )
    measured = Parity(
        images=found.images,
        psnr_db=None if found.psnr_db == math.inf else found.psnr_db,
        max_level=found.max_level,
        share_off_by_one=found.share_off_by_one,
        gpu=gpu_name(backend),
    )
    return replace(spec, parity=measured)


def prove_plan(plan: bytes, spec: EngineSpec, model: OnnxModel, *, trt: Any, cuda: Cuda) -> EngineSpec:
    """`prove` for what was just built, before it has a name."""
    from gpsr_deploy.backends.tensorrt import TensorRtBackend

    with TensorRtBackend(plan, spec, runtime=spec.runtime, trt=trt, cuda=cuda) as backend:
        return prove(backend, spec, model)


def prove_once(backend: Backend, path: Path) -> str | None:
    """Proves an engine that nobody has proved yet on a GPU like this one, and keeps what was found beside it.

    Returns why that could not be done, in words; None where it was, before or now, and for what is no engine. Raises
    ParityFailed.
    """
    if backend.runtime not in ENGINE_RUNTIMES:
        return None
    from gpsr_deploy.backends.tensorrt import TensorRtBackend

    assert isinstance(backend, TensorRtBackend), "only that runs engines"
    spec = backend.engine
    if spec is None:
        return "there is no sidecar, so nobody knows what the engine should compute"
    if is_proved(backend):
        return None
    try:
        from gpsr_deploy.model_files import onnx as onnx_file

        model = model_of(spec, path.parent)
        if model is None:
            return (
                f"the ONNX model that the engine was built from (SHA-256 {spec.onnx_sha256[:12]}...) is not beside it, so the "
                f"two were not compared. Try: gpsr-trt validate --engine {printable(path)} --reference MODEL.onnx"
            )
        proved = prove(backend, spec, onnx_file.read(model))
    except BackendUnavailable as error:
        return f"it was not compared with its model, {error.found}. Try: {error.remedy}"
    except GpsrError as error:
        error.path = path
        raise
    with suppress(OutputUnwritable):  # a folder that is only read: the next run proves it again
        engine_file.write_sidecar(path, proved)
    return None


def model_of(spec: EngineSpec, folder: Path, *, also: Path | None = None) -> Path | None:
    """The model that an engine was built from, by its SHA-256: `also`, one that ships, or one that lies in `folder`."""
    from gpsr_deploy.model_files import onnx as onnx_file

    with suppress(OSError):
        for path in [*filter(None, [also]), *models.files(), *sorted(folder.glob("*.onnx"))]:
            with suppress(GpsrError):  # whatever else lies there
                if hashlib.sha256(gate.read(path, most=onnx_file.MAX_BYTES)).hexdigest() == spec.onnx_sha256:
                    return path
    return None


def _levels(count: int) -> str:
    return f"{count} level{'s' if count > 1 else ''}"


def _remedy(spec: EngineSpec, model: OnnxModel) -> str:
    if spec.sr.dtype != "fp16":
        return f"another {spec.runtime} than {spec.runtime_version}, and a report that names the GPU"
    from gpsr_deploy.proof import layers

    try:
        loudest = layers.loudest(model, parity.photographs(SIZES[0])[0])
    except GpsrError:
        return "build from the fp32 model"
    return (
        f"export with --precision fp16 --keep-fp32 {loudest.branch}, the branch with the largest values ({loudest.peak:.3g} of "
        f"the {layers.HALF_PEAK:g} that fp16 holds, in {loudest.name}), or build from the fp32 model"
    )
