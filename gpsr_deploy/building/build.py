"""ONNX and profile -> engine, in TensorRT or TensorRT-RTX: the module is an argument. Precision is what the graph says."""

from __future__ import annotations

import hashlib
import math
import queue
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gpsr_deploy.backends import flavours
from gpsr_deploy.errors import ModelRefused, OutOfMemory, UsageError
from gpsr_deploy.model_files import cache as cache_file
from gpsr_deploy.model_files.engine import header, require_same
from gpsr_deploy.model_files.onnx import OnnxModel
from gpsr_deploy.spec import INPUT, WEIGHT_TYPES, EngineRuntime, EngineSpec, Profile

Progress = Callable[[str, float], object]
"""Called with the phase that goes on and the share of the build that is done, 0 to 1."""

Made = TypeVar("Made")


def build(
    model: OnnxModel,
    profile: Profile,
    *,
    runtime: EngineRuntime,
    trt: Any,
    compute_capabilities: Sequence[str],
    optimization_level: int | None = None,
    timing_cache: Path | None = None,
    on_progress: Progress | None = None,
) -> tuple[bytes, EngineSpec]:
    """Plan and sidecar, the latter without parity.

    `trt` is the module of the flavour `runtime`. TensorRT-RTX builds for each of `compute_capabilities`, anywhere;
    TensorRT for the GPU that it runs on, whose capability stands there. `timing_cache` is TensorRT's only. An interrupt
    ends the build after its step at hand. Raises UsageError, ModelRefused or OutOfMemory.
    """
    profile.require_multiples(model.spec.multiple_of)
    if timing_cache is not None and runtime != "tensorrt":
        raise UsageError(
            "--timing-cache with tensorrt-rtx", expected="tensorrt: the other measures nothing when it builds"
        )

    def work(watch: _Watch) -> tuple[bytes, dict[str, float], bytes]:
        log = flavours.messages(trt)
        builder = trt.Builder(log)
        network = _parse(model, builder, trt, log)
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and 10 bits of mantissa are no fp32
        if optimization_level is not None:
            config.builder_optimization_level = optimization_level
        _set_profile(profile, builder, config, log)
        if runtime == "tensorrt-rtx":
            _set_targets(compute_capabilities, config, trt)
        cache = _set_timing_cache(timing_cache, config, log) if timing_cache else None
        config.progress_monitor = _monitor(trt, watch)
        plan = _serialized(builder, network, config, log)
        kept = None if cache is None else cache.serialize()
        return plan, weight_types(network, trt), b"" if kept is None else bytes(kept)

    plan, weights, timings = _apart(work, on_progress)
    found = header(plan)  # TensorRT's does not tell for which GPU
    if runtime == "tensorrt-rtx" and set(found.compute_capabilities) != set(compute_capabilities):
        raise ModelRefused(
            f"the plan is for GPUs of {', '.join(found.compute_capabilities) or 'no compute capability'}",
            expected=f"{', '.join(compute_capabilities)}, as asked",
        )
    spec = EngineSpec(
        sr=model.spec,
        costs=model.costs,
        profile=profile,
        runtime=runtime,
        runtime_version=flavours.version_of(trt),
        compute_capabilities=found.compute_capabilities or tuple(compute_capabilities),
        weights=weights,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        onnx_sha256=model.sha256,
        parity=None,
    )
    require_same(found, spec)
    if timings and timing_cache is not None:
        cache_file.write(timing_cache, timings)
    return plan, spec


def supported_capabilities(trt: Any) -> tuple[str, ...]:
    """The GPUs that TensorRT-RTX builds for, as `8.9`, in rising order; empty for TensorRT, which builds where it runs."""
    names = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    numbers = sorted(int(name[2:]) for name in names if name.startswith("SM") and name[2:].isdigit())
    return tuple(f"{number // 10}.{number % 10}" for number in numbers)


def weight_types(network: Any, trt: Any) -> dict[str, float]:
    """Share of the convolutions' weights by type, read back from a TensorRT network."""
    names = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
    counts: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.CONVOLUTION:
            layer.__class__ = trt.IConvolutionLayer  # how TensorRT's Python API casts to what a layer is
            kernel = layer.kernel
            if kernel.size == 0 and layer.num_inputs > 1:  # weights in int8, which come as a tensor
                counts["int8"] += math.prod(layer.get_input(1).shape)
            else:
                counts[names.get(str(kernel.dtype), WEIGHT_TYPES[-1])] += int(kernel.size)
    total = sum(counts.values())
    return {name: counts[name] / total for name in WEIGHT_TYPES if counts[name]}


def _parse(model: OnnxModel, builder: Any, trt: Any, log: Any) -> Any:
    """The network. From bytes: by a path the parser would follow links to data outside the file."""
    flags = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flags is None else 1 << int(flags))
    parser = trt.OnnxParser(network, log)
    if not model.content or not parser.parse(model.content) or parser.num_errors or network.num_outputs != 1:
        said = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise ModelRefused(
            f"TensorRT cannot read the model: {said[0] if said else log.last}",
            expected="a model that export/to_onnx.py wrote",
        )
    return network


def _set_profile(profile: Profile, builder: Any, config: Any, log: Any) -> None:
    """The sizes. TensorRT says nothing where it does not take them, so they are read back."""
    sizes = [(1, 3, *profile.min), (profile.batch, 3, *profile.opt), (profile.batch, 3, *profile.max)]
    shapes = builder.create_optimization_profile()
    shapes.set_shape(INPUT, *sizes)
    if [tuple(shape) for shape in shapes.get_shape(INPUT)] != sizes or config.add_optimization_profile(shapes) < 0:
        raise ModelRefused(f"TensorRT does not take the profile {sizes}: {log.last}", expected="min <= opt <= max")


def _set_targets(compute_capabilities: Sequence[str], config: Any, trt: Any) -> None:
    known = supported_capabilities(trt)
    for capability in compute_capabilities:
        if capability not in known:
            raise UsageError(
                f"--gpu {capability}",
                expected=f"compute capabilities that TensorRT-RTX builds for: {', '.join(known)}",
                remedy="--runtime tensorrt on a machine with that GPU",
            )
    config.num_compute_capabilities = len(compute_capabilities)
    for index, capability in enumerate(compute_capabilities):
        target = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}")
        if not config.set_compute_capability(target, index):
            raise ModelRefused(f"TensorRT-RTX does not take --gpu {capability}", expected=f"some of {', '.join(known)}")


def _set_timing_cache(path: Path, config: Any, log: Any) -> Any:
    """Starts from the cache at `path`, or from an empty one where that is damaged or of another GPU."""
    for content in (cache_file.read(path), b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    raise ModelRefused(f"TensorRT takes no timing cache: {log.last}")


def _serialized(builder: Any, network: Any, config: Any, log: Any) -> bytes:
    """The plan. Raises ModelRefused or OutOfMemory."""
    try:
        plan = builder.build_serialized_network(network, config)
    except MemoryError as error:
        raise OutOfMemory("no memory for the build", remedy="a machine with more") from error
    except RuntimeError as error:  # what the library throws, as Python sees it
        raise ModelRefused(
            f"TensorRT failed in the build: {error}", expected="a model and sizes that it can run"
        ) from error
    if plan is None:
        raise ModelRefused(
            f"TensorRT cannot build the engine: {log.last}", expected="a model and sizes that it can run"
        )
    return bytes(plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    """Between the thread that builds and the one that waits for it."""

    told: queue.SimpleQueue[tuple[str, float]] = field(default_factory=queue.SimpleQueue)
    """Phase and share done."""
    cancelled: threading.Event = field(default_factory=threading.Event)


def _apart(work: Callable[[_Watch], Made], on_progress: Progress | None) -> Made:
    """What `work` returns. It runs in a thread of its own, so that an interrupt reaches this one, and can end it.

    In a callback of TensorRT's, which writes its log from C++, an interrupt would be swallowed. And what a failed `work`
    held is freed in its thread at once: TensorRT calls its log with its lock held, and takes that to free a builder. One
    that an error keeps until Python's collector happens to run, in the log of a later build, would wait there for ever.
    """
    watch = _Watch()

    def worked() -> Made:
        try:
            return work(watch)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise

    with ThreadPoolExecutor(1, thread_name_prefix="build") as pool:
        working = pool.submit(worked)
        try:
            done = False
            while not done:
                done = bool(wait([working], timeout=0.1).done)
                while on_progress is not None and not watch.told.empty():
                    on_progress(*watch.told.get())
        except BaseException:
            watch.cancelled.set()
            raise
    return working.result()


def _monitor(trt: Any, watch: _Watch) -> Any:
    """Tells `watch` of phases and the share done, and ends the build once that is cancelled.

    Called from C++, by several threads at once, and never raises.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Phases lie in each other; the share that is done is that of the innermost in its parent's step, and so on."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, list[Any]] = {}
            self._most = 0.0
            self._telling = threading.Lock()  # what is told never goes back, whichever thread tells it

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = [parent_phase, max(num_steps, 1), 0]
            self._tell(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._done(phase_name, step + 1)
            return not watch.cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._done(phase_name, None)
            self._phases.pop(phase_name, None)

        def _done(self, phase_name: str, steps: int | None) -> None:
            """`steps` of a phase are done; None: all."""
            phase = self._phases.get(phase_name)
            if phase is not None:
                phase[2] = phase[1] if steps is None else steps
                self._tell(phase_name)

        def _tell(self, phase_name: str) -> None:
            share, name, told_of = 0.0, phase_name, set()
            while (phase := self._phases.get(name)) is not None and name not in told_of:
                told_of.add(name)
                name, steps, done = phase
                share = min(1.0, (done + (share if done < steps else 0.0)) / steps)
            with self._telling:
                self._most = max(self._most, share)
                watch.told.put((phase_name, self._most))

    return Monitor()
