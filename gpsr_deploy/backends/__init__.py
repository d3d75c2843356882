"""The Backend protocol, and open_backend: a model file and a device in, something that runs batches out."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy.errors import BackendUnavailable, ModelRefused, OutOfMemory, UsageError
from gpsr_deploy.spec import Profile, SRSpec

Batch = NDArray[np.float32]
"""NCHW RGB in [0, 1], whatever the engine computes in."""

Runtime = Literal["onnxruntime", "openvino", "torch"]


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


def open_backend(
    path: Path, *, device: str = "auto", runtime: Runtime | None = None, threads: int | None = None
) -> Backend:
    """A backend for the model in `path`.

    The file's kind picks the runtime, unless `runtime` names one that also takes it; `device` is `auto`, `cpu` or
    `cuda[:index]`; `threads` limits the CPU's. Raises InputUnreadable, ModelRefused, BackendUnavailable or UsageError.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device):
        raise UsageError(f"device {device!r}", expected="auto, cpu, cuda or cuda:INDEX")
    match path.suffix.lower(), runtime:
        case ".onnx", None | "onnxruntime":
            from gpsr_deploy import onnx_file
            from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend

            return OnnxRuntimeBackend(onnx_file.read(path), device=device, threads=threads)
        case ".onnx", "openvino":
            from gpsr_deploy import onnx_file
            from gpsr_deploy.backends.openvino import OpenVinoBackend

            return OpenVinoBackend(onnx_file.read(path), device=device, threads=threads)
        case ".safetensors", None | "torch":
            from gpsr_deploy.backends.torch import TorchBackend

            return TorchBackend.open(path, device=device, threads=threads)
        case ".plan" | ".engine", _:
            raise BackendUnavailable(
                "this is a TensorRT engine",
                expected="an .onnx or .safetensors model: engines are not run yet",
                remedy="the ONNX that the engine was built from",
                path=path,
            )
        case ".pth" | ".pt" | ".ckpt" | ".bin" | ".pkl", _:
            raise ModelRefused(
                "this file may hold a pickle, which can run code",
                expected=".onnx or .safetensors",
                remedy="convert the weights to safetensors",
                path=path,
            )
        case _, None:
            raise ModelRefused(
                f"no model is known by the suffix {path.suffix!r}", expected=".onnx or .safetensors", path=path
            )
        case _:
            raise UsageError(
                f"{runtime} with a file named {path.suffix!r}",
                expected="onnxruntime or openvino with .onnx, torch with .safetensors",
                path=path,
            )


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
