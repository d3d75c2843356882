"""ONNX models in OpenVINO, on the CPU."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np

from gpsr_deploy.backends import Batch, failure, sr_shape
from gpsr_deploy.errors import BackendUnavailable, ModelRefused
from gpsr_deploy.onnx_file import OnnxModel
from gpsr_deploy.spec import Profile, SRSpec

try:
    import openvino
except ImportError as error:
    raise BackendUnavailable(
        "OpenVINO is not installed", expected="it for --runtime openvino", remedy="pip install gpsr-deploy[openvino]"
    ) from error

POOL_OVERHEAD = 2.5
"""Process memory that one byte of live activations costs; measured."""


class OpenVinoBackend:
    """One compiled model, in float32. Shapes may change from batch to batch."""

    runtime = "openvino"
    profile: Profile | None = None

    def __init__(self, model: OnnxModel, *, device: str = "auto", threads: int | None = None) -> None:
        if device not in ("auto", "cpu"):
            raise BackendUnavailable(f"device {device} in OpenVINO", expected="the CPU", remedy="--device cpu")
        settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            self._request = core.compile_model(core.read_model(model.content), "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise ModelRefused(
                f"OpenVINO {openvino.__version__} cannot run the model ({error})",
                expected="a model that export/to_onnx.py wrote",
            ) from error
        self.device = "cpu"
        self.spec: SRSpec = model.spec
        self.bytes_per_pixel = int(model.costs.activation_bytes * POOL_OVERHEAD)

    def infer(self, batch: Batch) -> Batch:
        """See Backend.infer."""
        expected = sr_shape(batch, self.spec)
        try:
            result: Batch = self._request.infer([np.ascontiguousarray(batch)])[0]
        except (MemoryError, RuntimeError) as error:
            raise failure(self.runtime, batch, error, bytes_per_pixel=self.bytes_per_pixel) from error
        if result.shape != expected:  # without memory OpenVINO may raise nothing and leave the last result in place
            raise failure(self.runtime, batch, f"result of {result.shape}", bytes_per_pixel=self.bytes_per_pixel)
        return result.copy()

    def close(self) -> None:
        """See Backend.close."""
        self._request = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
