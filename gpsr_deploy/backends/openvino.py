"""ONNX models in OpenVINO, on the CPU."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np

from gpsr_deploy.backends import Batch, failure, sr_shape
from gpsr_deploy.errors import BackendUnavailable, ModelRefused, UsageError
from gpsr_deploy.model_files.onnx import OnnxModel
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
        self._model, self._settings = model, settings
        try:
            self._request = self._compiled()
        except RuntimeError as error:
            raise ModelRefused(
                f"OpenVINO {openvino.__version__} cannot run the model ({error})",
                expected="a model that export/to_onnx.py wrote",
            ) from error
        self.device = "cpu"
        self.spec: SRSpec = model.spec
        self.bytes_per_pixel = int(model.costs.activation_bytes * POOL_OVERHEAD)

    def _compiled(self) -> openvino.InferRequest:
        core = openvino.Core()
        return core.compile_model(core.read_model(self._model.content), "CPU", self._settings).create_infer_request()

    def infer(self, batch: Batch) -> Batch:
        """See Backend.infer."""
        if self._request is None:
            raise UsageError("the backend is closed", expected="one inside its `with`")
        expected = sr_shape(batch, self.spec)
        try:
            # Not infer(): with one thread that swallows failures and gives the pixels of an earlier batch.
            self._request.start_async([np.ascontiguousarray(batch)])
            self._request.wait()
            result: Batch = self._request.get_output_tensor(0).data
        except (MemoryError, RuntimeError) as error:
            self._request = self._compiled()  # the old one goes on failing, also with batches that it took before
            raise failure(self.runtime, batch, error, bytes_per_pixel=self.bytes_per_pixel) from error
        if result.shape != expected:
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
