"""The Backend protocol, and open_backend: a model file and a device in, something that runs batches out."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy.errors import ModelRefused, OutOfMemory, UsageError
from gpsr_deploy.spec import Precision, Profile, SRSpec

if TYPE_CHECKING:
    from gpsr_deploy.model_files.onnx import OnnxModel

Batch = NDArray[np.float32]
"""NCHW RGB in [0, 1], whatever the engine computes in."""

UNMEASURED_HALO = 36
"""LR pixels; the halo of a model's very weights is measured at export, and where nobody did a cautious one stands in."""

Runtime = Literal["onnxruntime", "openvino", "torch", "tensorrt", "tensorrt-rtx"]

WantedRuntime = Runtime | Literal["auto"] | None
WantedPrecision = Precision | Literal["auto"] | None
"""What a user asks for. `auto`: the fastest that keeps the model's quality; None: what computes exactly what the file says."""


class Backend(Protocol):
    """A network that is ready to run. Closed at the end of its `with`."""

    @property
    def spec(self) -> SRSpec:
        """What the network does."""

    @property
    def profile(self) -> Profile | None:
        """The sizes it takes; None: any multiple of `spec.multiple_of`."""

    @property
    def runtime(self) -> str:
        """Name of the library that runs it."""

    @property
    def precision(self) -> Precision:
        """What it computes in."""

    @property
    def device(self) -> str:
        """Processor that it runs on: `cpu`, `cuda:0`."""

    @property
    def bytes_per_pixel(self) -> int:
        """Working memory of a run per LR pixel of a batch, estimated."""

    def infer(self, batch: Batch) -> Batch:
        """(N, 3, H, W) -> (N, 3, H * scale, W * scale), memory of the result's own. Raises OutOfMemory or ModelRefused."""

    def close(self) -> None:
        """Frees everything; may be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Pipelined(Protocol):
    """A backend that works on the next batch while its caller is busy with the last result."""

    def infer_each(self, batches: Iterable[Batch]) -> Generator[Batch, None, None]:
        """The result of each batch, in order, as `Backend.infer`; a batch is taken before its predecessor's result is given.

        To be exhausted, or closed, before the backend is used again.
        """


def infer_each(backend: Backend, batches: Iterable[Batch]) -> Generator[Batch, None, None]:
    """The result of each batch, in order: pipelined where the backend can. To be exhausted or closed."""
    if isinstance(backend, Pipelined):
        yield from backend.infer_each(batches)
    else:
        for batch in batches:
            yield backend.infer(batch)


def open_backend(
    path: Path,
    *,
    device: str = "auto",
    runtime: WantedRuntime = None,
    precision: WantedPrecision = None,
    threads: int | None = None,
    scale: int | None = None,
    trust_engine: bool = False,
    on_warning: Callable[[str], object] | None = None,
) -> Backend:
    """A backend for the model in `path`.

    The file's kind picks the runtime, unless `runtime` names one that also takes it. `auto` for `runtime` and `precision`
    and None are as WantedPrecision has them. `device` is `auto`, `cpu`
    or `cuda[:index]`; `threads` limits the CPU's; a model of another `scale` is refused, an engine before it is loaded;
    `trust_engine` takes a plan without its sidecar; `on_warning` is told what a user should know of the file. Raises
    InputUnreadable, ModelRefused, BackendUnavailable or UsageError.
    """
    backend = _opened(
        path,
        device=device,
        runtime=runtime,
        precision=precision,
        threads=threads,
        scale=scale,
        trust_engine=trust_engine,
        warn=on_warning or (lambda _text: None),
    )
    if scale not in (None, backend.spec.scale):
        backend.close()
        raise ModelRefused(
            f"the model enlarges {backend.spec.scale} times",
            expected=f"one for scale {scale} (-s {scale}), as asked",
            remedy=f"-s {backend.spec.scale}, or another model",
            path=path,
        )
    return backend


def _opened(
    path: Path,
    *,
    device: str,
    runtime: WantedRuntime,
    precision: WantedPrecision,
    threads: int | None,
    scale: int | None,
    trust_engine: bool,
    warn: Callable[[str], object],
) -> Backend:
    """The backend for the kind of file that `path` is."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device):
        raise UsageError(f"device {device!r}", expected="auto, cpu, cuda or cuda:INDEX")
    match path.suffix.lower(), runtime:
        case ".onnx", None | "auto" | "onnxruntime" | "openvino":
            return _open_onnx(_onnx(path, warn), device=device, runtime=runtime, precision=precision, threads=threads)
        case ".safetensors", None | "auto" | "torch":
            from gpsr_deploy.backends.torch import TorchBackend

            _require_own(precision, "fp32", "a checkpoint runs in", path)
            return TorchBackend.open(path, device=device, threads=threads, on_warning=warn)
        case ((".plan" | ".engine"), None | "auto" | "tensorrt" | "tensorrt-rtx"):
            from gpsr_deploy.backends.tensorrt import TensorRtBackend

            flavour = None if runtime == "auto" else runtime
            opened = TensorRtBackend.open(path, device=device, runtime=flavour, scale=scale, trust=trust_engine)
            try:
                _require_own(precision, opened.precision, "the engine was built in", path)
            except UsageError:
                opened.close()
                raise
            return opened
        case ".pth" | ".pt" | ".ckpt" | ".bin" | ".pkl", _:
            raise ModelRefused(
                "this file may hold a pickle, which can run code",
                expected=".onnx or .safetensors",
                remedy="python export/from_pth.py, which makes a checkpoint of it",
                path=path,
            )
        case _, None | "auto":
            raise ModelRefused(
                f"no model is known by the suffix {path.suffix!r}", expected=".plan, .onnx or .safetensors", path=path
            )
        case _:
            raise UsageError(
                f"{runtime} with a file named {path.suffix!r}",
                expected="onnxruntime or openvino with .onnx, torch with .safetensors, tensorrt or tensorrt-rtx with .plan",
                path=path,
            )


def _open_onnx(
    model: OnnxModel,
    *,
    device: str,
    runtime: WantedRuntime,
    precision: WantedPrecision,
    threads: int | None,
) -> Backend:
    """The backend for a checked ONNX model, as choice.choose says."""
    from gpsr_deploy.backends.choice import choose

    chosen, computed = choose(model, runtime=runtime, precision=precision, device=device)
    if chosen == "openvino":
        from gpsr_deploy.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(model, device=device, threads=threads, precision=computed)
    from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, device=device, threads=threads)


def _require_own(asked: WantedPrecision, own: Precision, says: str, path: Path) -> None:
    """Raises UsageError where a model that has one precision is to run in another."""
    if asked not in (None, "auto", own):
        raise UsageError(f"precision {asked}", expected=f"{own} or auto: {says} {own}", path=path)


def _onnx(path: Path, warn: Callable[[str], object]) -> OnnxModel:
    from gpsr_deploy.model_files import onnx as onnx_file

    model = onnx_file.read(path)
    for warning in model.warnings:
        warn(warning)
    return model


def sr_shape(batch: Batch, spec: SRSpec) -> tuple[int, int, int, int]:
    """The shape that the result for `batch` must have. Raises ModelRefused for a batch that the network does not take."""
    if batch.dtype != np.float32 or batch.ndim != 4 or batch.shape[1] != 3:
        raise ModelRefused(f"a batch of {batch.dtype} {batch.shape}", expected="float32 (N, 3, H, W)")
    number, channels, height, width = batch.shape
    if 0 in batch.shape or height % spec.multiple_of or width % spec.multiple_of:
        raise ModelRefused(f"a batch of {height}x{width} pixels", expected=f"multiples of {spec.multiple_of}")
    return number, channels, height * spec.scale, width * spec.scale


def failure(runtime: str, batch: Batch, reason: object, *, bytes_per_pixel: int) -> OutOfMemory | ModelRefused:
    """What to raise where a runtime failed on `batch`.

    Runtimes do not tell a lack of memory from other failures by type: OutOfMemory where this process could not get what
    the batch needs, else ModelRefused with the runtime's `reason`.
    """
    number, _, height, width = batch.shape
    size = f"{number} x {height}x{width}"
    try:
        np.empty(number * height * width * bytes_per_pixel, np.uint8)
    except MemoryError:
        return OutOfMemory(f"no memory for a batch of {size}", remedy="a smaller --tile")
    return ModelRefused(f"{runtime} failed on a batch of {size} ({reason})")
