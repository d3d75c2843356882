"""ONNX models in ONNX Runtime: on the CPU, or on a GPU through its CUDA provider."""

from __future__ import annotations

import contextlib
import io
from types import TracebackType
from typing import Any, Self

import numpy as np

from gpsr_deploy.backends import Batch, failure, sr_shape
from gpsr_deploy.backends.cuda import INSUFFICIENT_DRIVER, Cuda, bindings
from gpsr_deploy.backends.silence import silenced
from gpsr_deploy.errors import BackendUnavailable, ModelRefused, OutOfMemory, UsageError
from gpsr_deploy.machine import cores
from gpsr_deploy.model_files.onnx import OnnxModel
from gpsr_deploy.spec import INPUT, Precision, Profile, SRSpec

try:
    with silenced():
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as states
except ImportError as error:
    raise BackendUnavailable(
        "ONNX Runtime is not installed", expected="it for .onnx models", remedy="pip install gpsr-deploy[cpu]"
    ) from error

ARENA_OVERHEAD = 1.6
"""Process memory that one byte of live activations costs: measured 1.5, as the arena grows by doubling."""

CUDA = "CUDAExecutionProvider"

CUDA_OPTIONS = {
    # TF32 rounds products to 10 bits: no fp32 that anybody measured against torch.
    "use_tf32": "0",
    # The default, EXHAUSTIVE, times every algorithm again for each shape that is new to it, and tiles come in many.
    "cudnn_conv_algo_search": "HEURISTIC",
    # Memory that the arena has taken it keeps; doubling would keep what no tile ever needs.
    "arena_extend_strategy": "kSameAsRequested",
}
"""Of the CUDA provider, beside the GPU's index."""

BAD_GRAPH = (states.InvalidArgument, states.InvalidGraph, states.NotImplemented)

FAILURES = (*BAD_GRAPH, states.RuntimeException, states.Fail, states.EPFail, RuntimeError)
"""RuntimeError: from C++ code that has no status to return, such as that which reads a provider's options."""


class OnnxRuntimeBackend:
    """One session. Shapes may change from batch to batch."""

    runtime = "onnxruntime"
    profile: Profile | None = None

    def __init__(self, model: OnnxModel, *, device: str = "auto", threads: int | None = None) -> None:
        """`auto` is the first GPU where ONNX Runtime has its CUDA provider and there is a GPU, else the CPU.

        A GPU that is there, or was asked for, and does not start raises BackendUnavailable.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads or cores()
        # Two thirds of the memory at the same speed: blocked layouts pad these narrow layers, and a memory pattern
        # holds the sum of a graph's tensors per shape instead of what is alive at once.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.enable_mem_pattern = False
        try:
            self._session, self._gpu = _session(model.content, options, device)
        except FAILURES as error:
            raise ModelRefused(
                f"ONNX Runtime {onnxruntime.__version__} cannot run the model ({error})",
                expected="a model that export/to_onnx.py wrote",
            ) from error
        self.device = "cpu" if self._gpu is None else f"cuda:{self._gpu}"
        self.spec: SRSpec = model.spec
        self.precision: Precision = model.spec.dtype
        self.bytes_per_pixel = int(model.costs.activation_bytes * ARENA_OVERHEAD)

    def infer(self, batch: Batch) -> Batch:
        """See Backend.infer."""
        if self._session is None:
            raise UsageError("the backend is closed", expected="one inside its `with`")
        expected = sr_shape(batch, self.spec)
        try:
            result: Batch = self._session.run(None, {INPUT: np.ascontiguousarray(batch)})[0]
        except (MemoryError, *FAILURES) as error:
            raise self._failure(batch, error) from error
        if result.shape != expected:
            raise self._failure(batch, f"result of {result.shape}")
        return result

    def _failure(self, batch: Batch, reason: object) -> OutOfMemory | ModelRefused:
        """As `failure`; on a GPU it is the GPU's memory that is asked for."""
        free = None if self._gpu is None else _free_memory(self._gpu)
        number, _, height, width = batch.shape
        if free is not None and free < number * height * width * self.bytes_per_pixel:
            return OutOfMemory(f"no GPU memory for a batch of {number} x {height}x{width}", remedy="a smaller --tile")
        return failure(self.runtime, batch, reason, bytes_per_pixel=self.bytes_per_pixel)

    def close(self) -> None:
        """See Backend.close."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _session(content: bytes, options: Any, device: str) -> tuple[Any, int | None]:
    """A session on `device`, and the index of its GPU; None: on the CPU."""
    if device == "auto":
        there = _gpu_there() if CUDA in onnxruntime.get_available_providers() else False
        if there is None:  # the session is the only one left to ask
            with contextlib.suppress(BackendUnavailable):
                return _on_gpu(content, options, 0), 0
        device = "cuda" if there else "cpu"
    if device == "cpu":
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]), None
    index = int(device.partition(":")[2] or 0)
    return _on_gpu(content, options, index), index


def _on_gpu(content: bytes, options: Any, index: int) -> Any:
    """A session on one GPU. Raises BackendUnavailable where ONNX Runtime would, in silence, run on the CPU instead."""
    if CUDA not in onnxruntime.get_available_providers():
        raise _unavailable(f"the ONNX Runtime {onnxruntime.__version__} that is installed has no CUDA")
    printed = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on; finds CUDA's libraries where pip has put them
        with contextlib.redirect_stdout(printed):  # where it prints those that it does not find
            onnxruntime.preload_dlls()
    try:
        session = onnxruntime.InferenceSession(
            content,
            options,
            providers=[(CUDA, {"device_id": str(index), **CUDA_OPTIONS})],
            enable_fallback=0,  # else what fails here, or in a run, is printed, and goes on on the CPU
        )
    except BAD_GRAPH:
        raise
    except (ValueError, *FAILURES) as error:
        raise _unavailable(f"ONNX Runtime does not start on GPU {index} ({error})") from error
    if CUDA not in session.get_providers():
        reason = printed.getvalue().partition("\n")[0]
        raise _unavailable(f"ONNX Runtime does not start on GPU {index}" + (f" ({reason})" if reason else ""))
    return session


def _unavailable(found: str) -> BackendUnavailable:
    return BackendUnavailable(
        found,
        expected="onnxruntime-gpu with the CUDA and cuDNN that it was built for, and a GPU with its driver",
        remedy="pip install gpsr-deploy[cuda] where onnxruntime is not installed, or --device cpu",
    )


def _gpu_there() -> bool | None:
    """Whether CUDA sees a GPU; None where there is nothing to ask but ONNX Runtime."""
    try:
        api = bindings()
    except BackendUnavailable:
        return None
    status, count = api.cudaGetDeviceCount()
    return (
        None if int(status) == INSUFFICIENT_DRIVER else bool(count)
    )  # this CUDA's; ONNX Runtime's may be an older one


def _free_memory(index: int) -> int | None:
    """Bytes free on a GPU; None where nobody tells."""
    try:
        return Cuda(bindings(), index).free_memory()
    except ModelRefused:
        return None
