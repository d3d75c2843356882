"""One engine from start to end: built, proved where it can run, and only then written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpsr_deploy import atomic
from gpsr_deploy.backends import flavours
from gpsr_deploy.backends.cuda import Cuda, bindings
from gpsr_deploy.building.build import Progress, build, supported_capabilities
from gpsr_deploy.errors import BackendUnavailable, OutputUnwritable, UsageError
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files.onnx import OnnxModel
from gpsr_deploy.proof import engines
from gpsr_deploy.spec import EngineRuntime, EngineSpec, Profile


def make_engine(
    model: OnnxModel,
    target: Path,
    profile: Profile,
    *,
    runtime: EngineRuntime | None = None,
    compute_capabilities: Sequence[str] | None = None,
    device: int = 0,
    overwrite: bool = False,
    optimization_level: int | None = None,
    timing_cache: Path | None = None,
    on_progress: Progress | None = None,
) -> EngineSpec:
    """Plan and sidecar at `target` from `model`; returns what the sidecar says.

    `runtime` is by default the one that is installed, `compute_capabilities` all that it builds for, `device` the index of
    the GPU to build and prove on. Without a GPU that the engine is for, `parity` stays None. Raises GpsrError's children,
    ParityFailed where the engine does not compute what the model computes, and writes no file then.
    """
    require_free(target, overwrite=overwrite)
    atomic.clean_stale(target.parent)
    runtime = runtime or installed()[0]
    cuda, none_here = gpu(device)
    if runtime == "tensorrt" and none_here is not None:
        raise none_here
    trt = flavours.module_of(runtime)
    plan, spec = build(
        model,
        profile,
        runtime=runtime,
        trt=trt,
        compute_capabilities=_targets(compute_capabilities, trt, cuda),
        optimization_level=optimization_level,
        timing_cache=timing_cache,
        on_progress=on_progress,
    )
    if cuda is not None and cuda.compute_capability in spec.compute_capabilities:
        spec = engines.prove_plan(plan, spec, model, trt=trt, cuda=cuda)
    engine_file.write(target, plan, spec, overwrite=overwrite)
    return spec


def require_free(target: Path, *, overwrite: bool) -> None:
    """Raises UsageError for a name that is no plan's, OutputUnwritable where plan or sidecar cannot be written."""
    if target.suffix.lower() != ".plan":
        raise UsageError(f"the output is named {target.suffix!r}", expected=".plan", path=target)
    for file in (target, engine_file.sidecar_path(target)):
        if os.path.lexists(file) and not overwrite:
            raise OutputUnwritable("there is such a file", expected="a new name", remedy="--overwrite", path=file)
        atomic.require_writable(file)


def installed() -> list[EngineRuntime]:
    """The flavours that are installed, TensorRT-RTX first. Raises BackendUnavailable where there is none."""
    order: tuple[EngineRuntime, ...] = ("tensorrt-rtx", "tensorrt")
    found = [runtime for runtime in order if find_spec(flavours.MODULES[runtime][0]) is not None]
    if not found:
        raise BackendUnavailable(
            "neither TensorRT-RTX nor TensorRT is installed",
            expected="one of them to build engines",
            remedy="pip install gpsr-deploy[rtx], or gpsr-deploy[trt] for data-centre GPUs",
        )
    return found


def gpu(index: int = 0) -> tuple[Cuda, None] | tuple[None, BackendUnavailable]:
    """The GPU of this machine, or why there is none."""
    try:
        return Cuda(bindings(), index), None
    except BackendUnavailable as error:
        return None, error


def _targets(asked: Sequence[str] | None, trt: Any, cuda: Cuda | None) -> Sequence[str]:
    """The GPUs to build for. TensorRT builds for the one that it runs on: raises UsageError where another is asked for."""
    supported = supported_capabilities(trt)
    if supported:
        return asked or supported
    assert cuda is not None, "TensorRT was refused where there is no GPU"
    if asked and list(asked) != [cuda.compute_capability]:
        raise UsageError(
            f"--gpu {','.join(asked)} with tensorrt",
            expected=f"{cuda.compute_capability}, this GPU's: it builds for the GPU that it runs on",
            remedy="--runtime tensorrt-rtx, or build on the other machine",
        )
    return (cuda.compute_capability,)
