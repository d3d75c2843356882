"""ONNX models in ONNX Runtime, on the CPU."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np

from gpsr_deploy.backends import Batch, failure, sr_shape
from gpsr_deploy.errors import BackendUnavailable, ModelRefused, UsageError
from gpsr_deploy.machine import cores
from gpsr_deploy.onnx_file import INPUT, OnnxModel
from gpsr_deploy.spec import Profile, SRSpec

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as states
except ImportError as error:
    raise BackendUnavailable(
        "ONNX Runtime is not installed", expected="it for .onnx models", remedy="pip install gpsr-deploy[cpu]"
    ) from error

ARENA_OVERHEAD = 1.6
"""Process memory that one byte of live activations costs: measured 1.5, as the arena grows by doubling."""

FAILURES = (
    states.RuntimeException,
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.NotImplemented,
    states.EPFail,
)


class OnnxRuntimeBackend:
    """One session. Shapes may change from batch to batch."""

    runtime = "onnxruntime"
    profile: Profile | None = None

    def __init__(self, model: OnnxModel, *, device: str = "auto", threads: int | None = None) -> None:
        if device not in ("auto", "cpu"):
            raise BackendUnavailable(
                f"device {device} for an .onnx model",
                expected="the CPU: CUDA is not supported yet",
                remedy="--device cpu",
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads or cores()
        # Two thirds of the memory at the same speed: blocked layouts pad these narrow layers, and a memory pattern
        # holds the sum of a graph's tensors per shape instead of what is alive at once.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
        except FAILURES as error:
            raise ModelRefused(
                f"ONNX Runtime {onnxruntime.__version__} cannot run the model ({error})",
                expected="a model that export/to_onnx.py wrote",
            ) from error
        self.device = "cpu"
        self.spec: SRSpec = model.spec
        self.bytes_per_pixel = int(model.costs.activation_bytes * ARENA_OVERHEAD)

    def infer(self, batch: Batch) -> Batch:
        """See Backend.infer."""
        if self._session is None:
            raise UsageError("the backend is closed", expected="one inside its `with`")
        expected = sr_shape(batch, self.spec)
        try:
            result: Batch = self._session.run(None, {INPUT: np.ascontiguousarray(batch)})[0]
        except (MemoryError, *FAILURES) as error:
            raise failure(self.runtime, batch, error, bytes_per_pixel=self.bytes_per_pixel) from error
        if result.shape != expected:
            raise failure(self.runtime, batch, f"result of {result.shape}", bytes_per_pixel=self.bytes_per_pixel)
        return result

    def close(self) -> None:
        """See Backend.close."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
