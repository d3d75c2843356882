"""The CUDA calls that backends share: memory, streams, events, graphs. Every status goes through one `check`.

Nothing here imports CUDA but `bindings`: the module is an argument, so that tests can record what is called.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy.errors import BackendUnavailable, ModelRefused, OutOfMemory

MEMORY_ALLOCATION = 2
"""cudaErrorMemoryAllocation."""

INSUFFICIENT_DRIVER, NO_DEVICE = 35, 100
"""cudaErrorInsufficientDriver, which is also what a machine without any driver answers, and cudaErrorNoDevice."""


def bindings() -> ModuleType:
    """cuda-python's runtime API. Raises BackendUnavailable where it is not installed."""
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendUnavailable(
            "cuda-bindings is not installed",
            expected="it to talk to a GPU",
            remedy="pip install gpsr-deploy[rtx] or gpsr-deploy[trt]",
        ) from error
    module: ModuleType = runtime
    return module


class Cuda:
    """One GPU, through a CUDA runtime API: `cuda.bindings.runtime`, or a double with the same functions."""

    def __init__(self, api: Any, index: int = 0) -> None:
        """Makes GPU `index` the current one. Raises BackendUnavailable where there is no driver or no such GPU.

        To be called before TensorRT is touched: its runtime crashes the process where there is no driver.
        """
        self.api = api
        status, count = api.cudaGetDeviceCount()
        if int(status) in (INSUFFICIENT_DRIVER, NO_DEVICE) or (int(status) == 0 and not count):
            raise BackendUnavailable(
                "no CUDA device",
                expected="an NVIDIA GPU with a driver of CUDA 13",
                remedy="an .onnx model with --device cpu",
            )
        if int(status) != 0:
            raise BackendUnavailable(
                f"CUDA failed with {getattr(status, 'name', status)}",
                expected="a GPU and a driver that belong together",
                remedy="an .onnx model with --device cpu",
            )
        if index >= count:
            raise BackendUnavailable(f"no GPU {index}", expected=f"cuda:0 to cuda:{count - 1}", remedy="--device cuda")
        self.index, self.count = index, int(count)
        self.taken_bytes = self.peak_bytes = 0
        """Device memory that is taken through this object, now and at its highest."""
        self.make_current()
        properties = self.check(api.cudaGetDeviceProperties(index))
        name = properties.name
        self.name: str = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        self.compute_capability = f"{properties.major}.{properties.minor}"

    def check(self, answer: tuple[Any, ...]) -> Any:
        """What a call returned after its status. Raises OutOfMemory, or ModelRefused for any other failure."""
        status, *values = answer
        if int(status) == MEMORY_ALLOCATION:
            raise OutOfMemory(
                "CUDA has no memory left, of the GPU's or pinned of the host's", remedy="a smaller --tile"
            )
        if int(status) != 0:
            raise ModelRefused(f"CUDA failed with {getattr(status, 'name', status)}", expected="a GPU that works")
        return values[0] if len(values) == 1 else tuple(values) or None

    def make_current(self) -> None:
        """Makes this GPU the current one of the calling thread."""
        self.check(self.api.cudaSetDevice(self.index))

    def free_memory(self) -> int:
        """Bytes free on the GPU."""
        free, _total = self.check(self.api.cudaMemGetInfo())
        return int(free)

    def stream(self) -> Stream:
        """A new stream that does not wait for the default one."""
        return Stream(self)

    def event(self) -> Event:
        """A new event."""
        return Event(self)


class Owned:
    """Something that CUDA made and that is freed once: at `close`, or at the end of its `with`."""

    def __init__(self, free: Callable[[], tuple[Any, ...]]) -> None:
        self._free: Callable[[], tuple[Any, ...]] | None = free

    def close(self) -> None:
        """Frees it; a second time does nothing. A status is not asked for: there is nothing left to do about it."""
        free, self._free = self._free, None
        if free is not None:
            free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Stream(Owned):
    """A queue of work on the GPU."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.handle = cuda.check(cuda.api.cudaStreamCreateWithFlags(cuda.api.cudaStreamNonBlocking))
        super().__init__(lambda: cuda.api.cudaStreamDestroy(self.handle))

    def wait_for(self, event: Event) -> None:
        """Whatever is queued from now on starts after `event`."""
        self._cuda.check(self._cuda.api.cudaStreamWaitEvent(self.handle, event.handle, 0))

    def synchronize(self) -> None:
        """Waits until all that is queued is done."""
        self._cuda.check(self._cuda.api.cudaStreamSynchronize(self.handle))

    def copy(self, target: int, source: int, size: int, *, to_device: bool) -> None:
        """Queues a copy of `size` bytes between pinned host memory and device memory."""
        kind = self._cuda.api.cudaMemcpyKind
        direction = kind.cudaMemcpyHostToDevice if to_device else kind.cudaMemcpyDeviceToHost
        self._cuda.check(self._cuda.api.cudaMemcpyAsync(target, source, size, direction, self.handle))

    @contextmanager
    def capture(self) -> Iterator[list[Graph]]:
        """Records what is queued inside, instead of running it; the list then holds the graph."""
        api, check = self._cuda.api, self._cuda.check
        check(api.cudaStreamBeginCapture(self.handle, api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        captured: list[Graph] = []
        try:
            yield captured
        except BaseException:
            # Whatever it answers, the stream must leave its capture; and what was captured so far is a graph all the same.
            _, begun = api.cudaStreamEndCapture(self.handle)
            if begun is not None and int(begun):
                api.cudaGraphDestroy(begun)
            raise
        graph = check(api.cudaStreamEndCapture(self.handle))
        try:
            captured.append(Graph(self._cuda, check(api.cudaGraphInstantiate(graph, 0))))
        finally:
            api.cudaGraphDestroy(graph)


class Event(Owned):
    """A point in a stream."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.handle = cuda.check(cuda.api.cudaEventCreateWithFlags(cuda.api.cudaEventDefault))
        super().__init__(lambda: cuda.api.cudaEventDestroy(self.handle))

    def record(self, stream: Stream) -> None:
        """Puts the event after all that is queued in `stream` so far."""
        self._cuda.check(self._cuda.api.cudaEventRecord(self.handle, stream.handle))

    def synchronize(self) -> None:
        """Waits until the event has happened."""
        self._cuda.check(self._cuda.api.cudaEventSynchronize(self.handle))

    def seconds_since(self, earlier: Event) -> float:
        """Between two events that have happened."""
        milliseconds: float = self._cuda.check(self._cuda.api.cudaEventElapsedTime(earlier.handle, self.handle))
        return milliseconds / 1000


class Graph(Owned):
    """Work that was captured, ready to be queued as one."""

    def __init__(self, cuda: Cuda, handle: Any) -> None:
        self._cuda = cuda
        self.handle = handle
        super().__init__(lambda: cuda.api.cudaGraphExecDestroy(handle))

    def launch(self, stream: Stream) -> None:
        """Queues the work."""
        self._cuda.check(self._cuda.api.cudaGraphLaunch(self.handle, stream.handle))


class DeviceMemory(Owned):
    """Bytes on the GPU."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        """Raises OutOfMemory."""
        self._cuda = cuda
        self.size = size
        self.address = int(cuda.check(cuda.api.cudaMalloc(size)))
        cuda.taken_bytes += size
        cuda.peak_bytes = max(cuda.peak_bytes, cuda.taken_bytes)
        super().__init__(self._give_back)

    def _give_back(self) -> tuple[Any, ...]:
        self._cuda.taken_bytes -= self.size
        answer: tuple[Any, ...] = self._cuda.api.cudaFree(self.address)
        return answer


class Room(Owned):
    """Memory of one kind that grows as it is asked for more, and is used again. Whoever lets it grow has let go of it."""

    def __init__(self, cuda: Cuda, kind: type[DeviceMemory] | type[PinnedMemory]) -> None:
        self._cuda, self._kind = cuda, kind
        self._memory: DeviceMemory | PinnedMemory | None = None
        super().__init__(self._release)

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return 0 if self._memory is None else self._memory.size

    def of(self, size: int) -> int:
        """Address of at least `size` bytes; what lay there before may be gone. Raises OutOfMemory."""
        if self._memory is None or self.size < size:
            self._release()
            self._memory = self._kind(self._cuda, size)
        return self._memory.address

    def clear(self) -> None:
        """Frees the memory; the next `of` takes new."""
        self._release()

    def floats(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The beginning of pinned memory as an array; not to be used after the next `of`."""
        assert isinstance(self._memory, PinnedMemory), "only the host sees pinned memory"
        return self._memory.floats(shape)

    def _release(self) -> tuple[Any, ...]:
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()
        return ()


class PinnedMemory(Owned):
    """Page-locked bytes of the host, which the GPU copies while the CPU does something else."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        """Raises OutOfMemory."""
        self.size = size
        self.address = int(cuda.check(cuda.api.cudaHostAlloc(size, cuda.api.cudaHostAllocDefault)))
        super().__init__(lambda: cuda.api.cudaFreeHost(self.address))

    def floats(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The memory's beginning as an array; not to be used after `close`."""
        count = int(np.prod(shape))
        if 4 * count > self.size:
            raise ValueError(f"{shape} floats in {self.size} bytes")
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(self.address)).reshape(shape)
