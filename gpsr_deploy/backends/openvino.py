"""ONNX models in OpenVINO, on the CPU: in fp32, in bf16 where the processor has it, or in int8 as the model says."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Literal, Self

import numpy as np

from gpsr_deploy.backends import Batch, failure, sr_shape
from gpsr_deploy.backends.silence import silenced
from gpsr_deploy.errors import BackendUnavailable, ModelRefused, OutOfMemory, UsageError
from gpsr_deploy.model_files.onnx import OnnxModel
from gpsr_deploy.spec import Precision, Profile, SRSpec

try:
    with silenced():
        import openvino
except ImportError as error:
    raise BackendUnavailable(
        "OpenVINO is not installed", expected="it for --runtime openvino", remedy="pip install gpsr-deploy[openvino]"
    ) from error
except OSError as error:
    raise BackendUnavailable(
        f"OpenVINO cannot be imported ({error.strerror})", remedy="--runtime onnxruntime"
    ) from error

OVERHEAD = {"fp32": 1.25, "fp16": 1.25, "int8": 1.25, "bf16": 0.67}
"""Process memory that one byte of live float32 activations costs in a model compiled for one shape; measured 1.23 and 0.65."""

DYNAMIC_PIXELS = 128 * 128
"""LR pixels of a batch up to which a shape that comes for the first time runs in the model for all shapes: to compile one
takes longer than to run it, and a shape may never come again. Larger ones would take twice the memory there."""

KEPT_BYTES = 384 << 20
"""Memory of models compiled for shapes that were used before, which stay as long as all together fit into it."""

Shape = tuple[int, ...]

Rest = Literal["fp32", "bf16"]


@functools.cache
def computes_in_bf16() -> bool:
    """Whether the processor multiplies bfloat16. Elsewhere OpenVINO takes the type too, and is slower than in float32."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoBackend:
    """One model, compiled for the shapes of batches that come."""

    runtime = "openvino"
    profile: Profile | None = None

    def __init__(
        self,
        model: OnnxModel,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: Precision | None = None,
        rest: Rest | None = None,
    ) -> None:
        """`precision` is the model's own type, or bf16 for an fp32 model; None: its own.

        `rest` is for what an int8 model has in floating point; None: bf16 where the processor has it.

        Raises BackendUnavailable (not this device, not on this processor) or ModelRefused.
        """
        if device not in ("auto", "cpu"):
            raise BackendUnavailable(f"device {device} in OpenVINO", expected="the CPU", remedy="--device cpu")
        self.precision: Precision = precision or model.spec.dtype
        if self.precision == "bf16" and not computes_in_bf16():
            raise BackendUnavailable(
                "this processor has no bfloat16 arithmetic",
                expected="AVX512_BF16, AMX or the like for --precision bf16",
                remedy="--precision fp32, or auto",
            )
        in_bf16 = self.precision == "bf16"
        if self.precision == "int8":
            in_bf16 = computes_in_bf16() if rest is None else rest == "bf16"
        # Said in any case: left alone, OpenVINO takes bf16 wherever the processor has it.
        hint = "bf16" if in_bf16 else "f32"
        settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._settings = settings
        self._core: openvino.Core | None = openvino.Core()
        self._requests: OrderedDict[Shape | None, openvino.InferRequest] = OrderedDict()
        self._seen: set[Shape] = set()
        self._busy = threading.Lock()
        self._owner: int | None = None
        self.device = "cpu"
        self.spec: SRSpec = model.spec
        held = 2 * 3 * 4 * model.spec.scale**2  # the result in OpenVINO's memory, and the caller's copy of it
        self.bytes_per_pixel = int(model.costs.activation_bytes * OVERHEAD[self.precision]) + held
        try:
            self._model: openvino.Model | None = self._core.read_model(model.content)
        except RuntimeError as error:
            raise ModelRefused(
                f"OpenVINO {openvino.__version__} cannot run the model ({error})",
                expected="a model that export/to_onnx.py wrote",
            ) from error

    def _compiled(self, shape: Shape | None) -> openvino.InferRequest:
        """The model for batches of one shape, or for all."""
        assert self._core is not None and self._model is not None
        model = self._model
        if shape is not None:
            model = model.clone()
            model.reshape(list(shape))
        return self._core.compile_model(model, "CPU", self._settings).create_infer_request()

    def _request_for(self, shape: Shape) -> openvino.InferRequest:
        """What runs batches of this shape, compiled if need be; what was used longest ago makes room for it."""
        known: Shape | None = shape
        if shape not in self._requests and shape not in self._seen and _pixels(shape) <= DYNAMIC_PIXELS:
            known = None
        self._seen.add(shape)
        if known not in self._requests:
            room = KEPT_BYTES - self._bytes(known)
            while self._requests and sum(map(self._bytes, self._requests)) > room:
                self._requests.popitem(last=False)
            self._requests[known] = self._compiled(known)
        self._requests.move_to_end(known)
        return self._requests[known]

    def _bytes(self, shape: Shape | None) -> int:
        """About what a compiled model holds; the one for all shapes twice as much a pixel as others."""
        return self.bytes_per_pixel * (2 * DYNAMIC_PIXELS if shape is None else _pixels(shape))

    def infer(self, batch: Batch) -> Batch:
        """See Backend.infer."""
        (result,) = self.infer_each([batch])
        return result

    def infer_each(self, batches: Iterable[Batch]) -> Generator[Batch, None, None]:
        """See Pipelined: a batch runs while its predecessor's result is in use, and while its successor is made."""
        running: tuple[openvino.InferRequest, Batch] | None = None
        try:
            for batch in batches:
                result = None
                if running is not None:
                    ended, running = running, None
                    result = self._finished(*ended)
                running = self._started(batch)
                if result is not None:
                    yield result
            if running is not None:
                ended, running = running, None
                yield self._finished(*ended)
        finally:
            if running is not None:
                self._abandon(running[0])

    def _started(self, batch: Batch) -> tuple[openvino.InferRequest, Batch]:
        """The batch, at work: nothing else runs before it is finished or abandoned, whichever thread asks."""
        sr_shape(batch, self.spec)
        batch = np.ascontiguousarray(batch)
        if self._owner == threading.get_ident():
            raise UsageError("the backend is at work", expected="one call after the other in one thread")
        self._busy.acquire()
        self._owner = threading.get_ident()
        try:
            if self._core is None:
                raise UsageError("the backend is closed", expected="one inside its `with`")
            request = self._request_for(batch.shape)
            # Not infer(): with one thread that swallows failures and gives the pixels of an earlier batch.
            request.start_async([batch], share_inputs=True)
        except BaseException as error:
            self._release()
            if isinstance(error, MemoryError | RuntimeError):
                raise self._failure(batch, error) from error
            raise
        return request, batch

    def _finished(self, request: openvino.InferRequest, batch: Batch) -> Batch:
        """The result of a batch that is at work."""
        try:
            request.wait()
            result: Batch = request.get_output_tensor(0).data.copy()
        except (MemoryError, RuntimeError) as error:
            raise self._failure(batch, error) from error
        finally:
            self._release()
        if result.shape != sr_shape(batch, self.spec):
            raise self._failure(batch, f"result of {result.shape}")
        return result

    def _abandon(self, request: openvino.InferRequest) -> None:
        """Ends a run whose result nobody wants."""
        request.cancel()
        with contextlib.suppress(RuntimeError):  # that it was cancelled
            request.wait()
        self._release()

    def _release(self) -> None:
        self._owner = None
        self._busy.release()

    def _failure(self, batch: Batch, reason: object) -> OutOfMemory | ModelRefused:
        """What to raise. What was compiled is dropped: it goes on failing, also with batches that it took before."""
        self._requests.clear()
        return failure(self.runtime, batch, reason, bytes_per_pixel=self.bytes_per_pixel)

    def close(self) -> None:
        """See Backend.close."""
        self._requests.clear()
        self._core = self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pixels(shape: Shape) -> int:
    """LR pixels of a batch."""
    number, _, height, width = shape
    return number * height * width
