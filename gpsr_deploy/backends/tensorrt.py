"""Engines in TensorRT and TensorRT-RTX: one backend for both, since the module is an argument.

Two batches are on their way at any time: while one is computed, the next is copied in and the one before copied out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from gpsr_deploy.backends import UNMEASURED_HALO, Batch, flavours, sr_shape
from gpsr_deploy.backends.cuda import Cuda, DeviceMemory, PinnedMemory, Room, Stream, bindings
from gpsr_deploy.backends.device_array import DeviceArray, view
from gpsr_deploy.backends.trt_session import Interface, Lane, Session, Shape
from gpsr_deploy.errors import BackendUnavailable, GpsrError, ModelRefused, OutOfMemory, UsageError
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.network.family import MULTIPLE_OF
from gpsr_deploy.spec import EngineRuntime, EngineSpec, Precision, Profile, SRSpec

CACHE_SUFFIX = ".cache"
"""Of the file beside a TensorRT-RTX plan that keeps the kernels compiled for this GPU."""


class TensorRtBackend:
    """One engine on one GPU, for one thread at a time. Sizes may change from batch to batch, within the profile.

    Its GPU becomes the current one of the thread that uses it, and stays it.
    """

    def __init__(
        self,
        plan: bytes,
        engine: EngineSpec | None,
        *,
        runtime: EngineRuntime,
        trt: Any,
        cuda: Cuda,
        cache: Path | None = None,
    ) -> None:
        """Loads `plan`, which is trusted like a program: `engine_file.read` comes before.

        `engine` is what the sidecar says (None: the plan is asked), `trt` the module of the flavour `runtime`, `cache` the
        file of compiled kernels. Raises ModelRefused or OutOfMemory.
        """
        self.runtime: str = runtime
        self.device = f"cuda:{cuda.index}"
        self.gpu = cuda.name
        self.engine = engine
        self.copy_seconds = 0.0
        """What the copies of the last `infer` took on the GPU, beside its work or not."""
        self._cuda = cuda
        cuda.make_current()
        self._streams: list[Stream] = []
        self._turn: object = None
        """The latest call that uses the slots; None: closed."""
        self._owned = ExitStack()
        try:
            self._copies = self._owned.enter_context(cuda.stream())
            self._compute = self._owned.enter_context(cuda.stream())
            self._streams = [self._copies, self._compute]
            self._session = Session(plan, trt=trt, cuda=cuda, cache=cache)
            self._owned.callback(self._session.close)
            found = self._session.interface
            self.spec = _foreign(found) if engine is None else engine.sr
            self.precision: Precision = self.spec.dtype
            self.profile: Profile = found.profile if engine is None else engine.profile
            if found.scale != self.spec.scale or found.profile != self.profile:
                raise ModelRefused(
                    f"the engine is x{found.scale} and takes {found.profile}",
                    expected=f"x{self.spec.scale} and {self.profile}, as its sidecar says",
                    remedy="build the engine again",
                )
            self._slots = [_Slot(self._owned, cuda, self._session.lane()) for _ in range(2)]
            self._turn = object()
        except BaseException:
            self.close()
            raise
        result_bytes = 2 * 4 * 3 * (1 + self.spec.scale**2)
        self.bytes_per_pixel = result_bytes if engine is None else engine.costs.activation_bytes

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        device: str = "auto",
        runtime: str | None = None,
        scale: int | None = None,
        trust: bool = False,
    ) -> Self:
        """The engine at `path`, of `runtime` and for `scale` if they are named; without a sidecar only if `trust`.

        CUDA is asked before TensorRT, whose runtime ends the process where there is no driver. Raises InputUnreadable,
        ModelRefused, BackendUnavailable or UsageError.
        """
        if device == "cpu":
            raise BackendUnavailable(
                "an engine on the CPU", expected="an NVIDIA GPU", remedy="the .onnx that it was built from", path=path
            )
        foreign = trust and not engine_file.has_sidecar(path)
        try:
            if foreign:
                plan, header = engine_file.read_foreign(path)
                spec, built_by = None, header.runtime
            else:
                found = engine_file.read(path)
                plan, spec, built_by = found.content, found.spec, found.spec.runtime
            if runtime not in (None, built_by):
                raise UsageError(f"--runtime {runtime} with an engine of {built_by}", expected=built_by)
            if spec is not None:
                engine_file.require_scale(spec, scale)
            cuda = Cuda(bindings(), int(device.partition(":")[2] or 0))
            trt = flavours.module_of(built_by)
            if spec is not None:
                engine_file.require_runnable(
                    spec, version=flavours.version_of(trt), compute_capability=cuda.compute_capability
                )
            cache = path.with_name(path.name + CACHE_SUFFIX)
            return cls(plan, spec, runtime=built_by, trt=trt, cuda=cuda, cache=cache)
        except GpsrError as error:
            error.path = path if error.path is None else error.path
            raise

    @property
    def peak_bytes(self) -> int:
        """GPU memory that batches have taken so far at most: theirs and the engine's scratch, not its weights."""
        return self._cuda.peak_bytes

    def infer(self, batch: Batch) -> Batch:
        """See Backend.infer. More than the profile's batch goes in several runs, one behind the other."""
        expected = sr_shape(batch, self.spec)
        most = self.profile.batch
        parts = [batch[first : first + most] for first in range(0, len(batch), most)]
        if len(parts) == 1:
            return next(self.infer_each(parts))
        joined = _empty(expected)
        for number, result in enumerate(self.infer_each(parts)):
            joined[number * most : number * most + len(result)] = result
        return joined

    def infer_each(self, batches: Iterable[Batch]) -> Generator[Batch, None, None]:
        """See Pipelined.infer_each."""
        self._require_open()
        self._drain()  # of what an earlier caller neither took nor gave up
        turn = self._turn = object()
        self.copy_seconds = 0.0
        free, on_their_way = deque(self._slots), deque[_Slot]()
        try:
            for batch in batches:
                self._go_on(turn)
                slot = free.popleft()
                on_their_way.append(slot)
                self._send(slot, batch)
                if not free:
                    result = self._receive(on_their_way[0])
                    free.append(on_their_way.popleft())
                    yield result
            while on_their_way:
                self._go_on(turn)
                result = self._receive(on_their_way[0])
                on_their_way.popleft()
                yield result
        except OutOfMemory:
            self._give_back()
            raise
        finally:
            if on_their_way:  # given up half way: nothing may still write into memory that is used again
                self._drain()

    def infer_on_device(self, batch: object) -> DeviceArray:
        """A batch that lies on this GPU -> its super-resolution there, with no copy through the host.

        `batch` is float32 (N, 3, H, W) in [0, 1], contiguous, with `__cuda_array_interface__` or DLPack: of torch, CuPy,
        numba, pycuda. The result has both as well, is ready to be read, and owns its memory. Raises UsageError for an
        array that is none, ModelRefused for a size that the engine does not take, OutOfMemory, or BackendUnavailable
        without cuda-core.
        """
        self._require_open()
        self._cuda.make_current()
        lr = view(batch, stream=int(self._compute.handle), device_id=self._cuda.index)
        shape = self._taken(lr.shape)
        number, _, height, width = shape
        result: DeviceArray | None = None
        try:
            result = DeviceArray(self._cuda, (number, 3, height * self.spec.scale, width * self.spec.scale))
            self._session.first.enqueue(self._compute, shape, lr.address, result.address)
            self._compute.synchronize()
        except BaseException as error:
            self._drain()
            if result is not None:
                result.close()
            if isinstance(error, OutOfMemory):
                self._give_back()
            raise
        return result

    def close(self) -> None:
        """See Backend.close."""
        self._turn = None
        with suppress(GpsrError):  # of a thread that has not used it before, maybe
            self._cuda.make_current()
        self._drain()
        self._streams = []
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._turn is None:
            raise UsageError("the backend is closed", expected="one inside its `with`")

    def _go_on(self, turn: object) -> None:
        """Before each touch of the GPU: since the last one the caller may have changed the thread, its GPU, or its mind."""
        self._require_open()
        if turn is not self._turn:
            raise UsageError(
                "the backend was used anew before the results of the call before were taken",
                expected="a generator of results that is exhausted, or closed, first",
            )
        self._cuda.make_current()

    def _taken(self, shape: tuple[int, ...]) -> Shape:
        """`shape`, which the profile takes. Raises ModelRefused for any other."""
        low, high, step = self.profile.min, self.profile.max, self.spec.multiple_of
        if (
            len(shape) != 4
            or shape[1] != 3
            or not self.profile.takes(shape[2:])
            or not 0 < shape[0] <= self.profile.batch
            or shape[2] % step
            or shape[3] % step
        ):
            raise ModelRefused(
                f"a batch of {shape}",
                expected=f"(1 to {self.profile.batch}, 3, {low[0]} to {high[0]}, {low[1]} to {high[1]}), multiples of {step}, "
                "as it was built",
                remedy="another --tile, or an engine of another profile",
            )
        return shape

    def _send(self, slot: _Slot, batch: Batch) -> None:
        """Puts one batch on its way: in on the stream of copies, then through the network."""
        expected = sr_shape(batch, self.spec)
        shape = self._taken(batch.shape)
        slot.make_room(batch.nbytes, 4 * int(np.prod(expected)))
        slot.shape = expected
        np.copyto(slot.lr_host.floats(shape), batch)
        slot.began.record(self._copies)
        self._copies.copy(slot.lr, slot.lr_pinned, batch.nbytes, to_device=True)
        slot.arrived.record(self._copies)
        self._compute.wait_for(slot.arrived)
        slot.lane.enqueue(self._compute, shape, slot.lr, slot.sr)
        slot.computed.record(self._compute)

    def _receive(self, slot: _Slot) -> Batch:
        """Waits for one batch's result, and copies it out."""
        size = 4 * int(np.prod(slot.shape))
        self._copies.wait_for(slot.computed)
        slot.leaving.record(self._copies)
        self._copies.copy(slot.sr_pinned, slot.sr, size, to_device=False)
        slot.left.record(self._copies)
        slot.left.synchronize()
        self.copy_seconds += slot.arrived.seconds_since(slot.began) + slot.left.seconds_since(slot.leaving)
        result = _empty(slot.shape)
        np.copyto(result, slot.sr_host.floats(slot.shape))
        return result

    def _drain(self) -> None:
        """Waits for whatever is queued; a failure there has been told already, or is about to be."""
        for stream in self._streams:
            with suppress(GpsrError):
                stream.synchronize()

    def _give_back(self) -> None:
        """Frees the memory of batches, which stays otherwise: a smaller batch, tried next, would not get what a larger left."""
        self._drain()
        self._turn = object()  # whoever still waits for results waits for what is gone
        for slot in self._slots:
            slot.clear()
        self._session.clear()


class _Slot:
    """The memory and the events of one batch on its way, used again for the next but one."""

    def __init__(self, owned: ExitStack, cuda: Cuda, lane: Lane) -> None:
        self.lane = lane
        own = owned.enter_context
        self.lr_host, self.sr_host = (own(Room(cuda, PinnedMemory)) for _ in range(2))
        self._lr_device, self._sr_device = (own(Room(cuda, DeviceMemory)) for _ in range(2))
        self.began, self.arrived, self.computed, self.leaving, self.left = (own(cuda.event()) for _ in range(5))
        self.lr = self.sr = self.lr_pinned = self.sr_pinned = 0
        """Addresses on the GPU and of the host's copies."""
        self.shape: Shape = (0, 0, 0, 0)
        """Of the result."""

    def make_room(self, lr_bytes: int, sr_bytes: int) -> None:
        """Raises OutOfMemory."""
        self.lr_pinned, self.sr_pinned = self.lr_host.of(lr_bytes), self.sr_host.of(sr_bytes)
        self.lr, self.sr = self._lr_device.of(lr_bytes), self._sr_device.of(sr_bytes)

    def clear(self) -> None:
        """Frees the memory; the next `make_room` takes new."""
        for room in (self.lr_host, self.sr_host, self._lr_device, self._sr_device):
            room.clear()


def _empty(shape: Shape) -> Batch:
    """Memory for a result. Raises OutOfMemory."""
    try:
        return np.empty(shape, np.float32)
    except MemoryError as error:
        raise OutOfMemory(f"no memory for a result of {shape}", remedy="a smaller --tile") from error


def _foreign(found: Interface) -> SRSpec:
    """What can be said of an engine without a sidecar."""
    return SRSpec(
        name="foreign",
        scale=found.scale,
        halo=UNMEASURED_HALO,
        multiple_of=MULTIPLE_OF,
        tiling="aligned",
        dtype="fp32",
        checkpoint_sha256="0" * 64,
    )
