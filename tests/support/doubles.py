"""Doubles of a GPU: CUDA's runtime API and both TensorRTs, as strict as their documents where the real ones let much pass.

Memory is real, so copies copy. Queued work runs when something waits for it, or at once in the streams that `eager` names:
one stream can be far ahead of another unless an event holds it back. What no document allows lands in `Gpu.faults`.
"""

import contextlib
import enum
import gc
import itertools
import threading
import weakref
from collections import Counter, deque
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from cuda.bindings import runtime as real

SUCCESS = real.cudaError_t.cudaSuccess
OUT_OF_MEMORY = real.cudaError_t.cudaErrorMemoryAllocation
INVALID_HANDLE = real.cudaError_t.cudaErrorInvalidResourceHandle
NOT_READY = real.cudaError_t.cudaErrorNotReady
NOT_WHILE_CAPTURED = real.cudaError_t.cudaErrorStreamCaptureUnsupported
CAPTURE_SPOILED = real.cudaError_t.cudaErrorStreamCaptureInvalidated

COPIES, COMPUTE = 0, 1
"""The streams of a backend, in the order in which it makes them."""

SCHEDULES = {"lazy": (), "copies first": (COPIES,), "compute first": (COMPUTE,), "eager": (COPIES, COMPUTE)}
"""Which streams run at once, by name."""

GUARD = 64
"""Bytes before and after pinned memory that nobody may write to."""


@dataclass
class Memory:
    """One allocation."""

    address: int
    content: np.ndarray
    guarded: np.ndarray | None = None
    """With the guards around it, for pinned memory."""


@dataclass
class Work:
    """Something queued in a stream: a copy, a kernel, a whole graph."""

    name: str
    run: object
    uses: tuple[int, ...]
    """Addresses of the memory that it reads or writes."""
    owner: object = None
    """The handle of the graph, or the context, that it comes from."""
    seen: dict = field(default_factory=dict)
    """The memory at those addresses when it was captured."""


@dataclass
class Point:
    """A record of an event: a place in a stream."""

    stream: "Queue"
    index: int
    time: float = 0.0

    @property
    def reached(self):
        return self.stream.done > self.index


@dataclass
class Queue:
    """One stream."""

    number: int
    device: int
    work: list = field(default_factory=list)
    done: int = 0
    capture: list | None = None
    spoiled: bool = False


class Gpu:
    """`cuda.bindings.runtime` on a machine with `count` GPUs. Answers like it: a status first, then the values.

    What a test sets: `eager`, `total` bytes of a GPU, `failing_allocation` (its number from 1), `answers` (a status by the
    name of the call that gives it), `kernel_status` (of a kernel that fails on the GPU, after which nothing works any more).
    """

    cudaStreamNonBlocking = real.cudaStreamNonBlocking
    cudaEventDefault = real.cudaEventDefault
    cudaHostAllocDefault = real.cudaHostAllocDefault
    cudaMemcpyKind = real.cudaMemcpyKind
    cudaStreamCaptureMode = real.cudaStreamCaptureMode

    def __init__(self, *, count=1, eager=(), total=1 << 30):
        self.count = count
        self.eager = eager
        self.total = total
        self.failing_allocation = None
        self.answers = {}
        self.kernel_status = None
        self.faults = []
        self.calls = []
        """(name, detail) of each call, in order."""
        self.allocations = 0
        self.memory = {}
        self.streams = {}
        self.points = {}
        self.graphs = {}
        self.launchable = {}
        self.objects = weakref.WeakSet()
        """What a TensorRT made on this GPU."""
        self.freed = Counter()
        self.broken = None
        self.clock = 0.0
        self._current = threading.local()
        self._numbers = itertools.count(1)
        self._free_addresses = {}
        self._graveyard = []
        self._next_address = 1 << 44

    # --- what tests ask ---

    @property
    def device(self):
        """Of the calling thread."""
        return getattr(self._current, "device", None)

    @property
    def used(self):
        """Bytes taken of GPUs."""
        return sum(memory.content.size for memory in self.memory.values() if memory.guarded is None)

    def names(self, *wanted):
        """The calls of these names, in order."""
        return [name for name, _ in self.calls if name in wanted]

    def read(self, address, shape):
        """What lies in the memory of the GPU now, waiting for nothing."""
        return self._floats(address, shape).copy()

    def write(self, address, array):
        """Puts an array into the memory of the GPU, as somebody else's finished work."""
        self._floats(address, array.shape)[:] = array

    def leftovers(self):
        """What was made and not freed."""
        left = {
            "memory": len(self.memory),
            "streams": len(self.streams),
            "events": len(self.points),
            "graphs": len(self.graphs) + len(self.launchable),
            "objects of TensorRT": len(self.objects),
        }
        return {kind: number for kind, number in left.items() if number}

    # --- devices ---

    def cudaGetDeviceCount(self):
        status = self._begin("cudaGetDeviceCount")
        return (status, None) if status else (SUCCESS, self.count)

    def cudaSetDevice(self, index):
        if status := self._begin("cudaSetDevice", index):
            return (status,)
        if not 0 <= index < self.count:
            return (real.cudaError_t.cudaErrorInvalidDevice,)
        self._current.device = index
        return (SUCCESS,)

    def cudaGetDeviceProperties(self, index):
        if status := self._begin("cudaGetDeviceProperties", index):
            return status, None
        return SUCCESS, SimpleNamespace(name=b"NVIDIA Double", major=8, minor=9)

    def cudaMemGetInfo(self):
        if status := self._begin("cudaMemGetInfo", unsafe=True):
            return status, None, None
        return SUCCESS, self.total - self.used, self.total

    # --- memory ---

    def cudaMalloc(self, size):
        if status := self._begin("cudaMalloc", size, unsafe=True) or self._allocated(size):
            return status, None
        sizes = self._free_addresses.setdefault(-(-size // 512), [])
        if sizes:
            address = sizes.pop()  # the one that was freed last: an old address is no proof of old contents
        else:
            address = self._next_address
            self._next_address += -(-size // 512) * 512 + 4096
        self.memory[address] = Memory(address, np.full(size, 0xFF, np.uint8))  # as floats: NaN
        return SUCCESS, address

    def cudaFree(self, address):
        return self._free("cudaFree", address, pinned=False)

    def cudaHostAlloc(self, size, flags):
        if status := self._begin("cudaHostAlloc", size, unsafe=True) or self._allocated(size, pinned=True):
            return status, None
        guarded = np.full(size + 2 * GUARD, 0xFF, np.uint8)
        content = guarded[GUARD : GUARD + size]
        self.memory[content.ctypes.data] = Memory(content.ctypes.data, content, guarded)
        return SUCCESS, content.ctypes.data

    def cudaFreeHost(self, address):
        return self._free("cudaFreeHost", address, pinned=True)

    def _allocated(self, size, *, pinned=False):
        self._require_device("an allocation")
        self.allocations += 1
        if self.allocations == self.failing_allocation or (not pinned and self.used + size > self.total):
            return OUT_OF_MEMORY
        return None

    def _free(self, name, address, *, pinned):
        if status := self._begin(name, address, unsafe=True):
            return (status,)
        memory = self.memory.get(address)
        if memory is None or (memory.guarded is not None) != pinned:
            self.faults.append(f"{name} of what is not there")
            return (real.cudaError_t.cudaErrorInvalidValue,)
        if any(address in work.uses for work in self._pending()):
            self.faults.append(f"{name} of memory that queued work uses")
        if pinned:
            guards = np.concatenate([memory.guarded[:GUARD], memory.guarded[-GUARD:]])
            if np.any(guards != 0xFF):
                self.faults.append("a write beyond pinned memory")
            self._graveyard.append(memory)  # a late reader finds NaN, and no crash
        else:
            self._free_addresses[-(-memory.content.size // 512)].append(address)
        memory.content[:] = 0xFF
        del self.memory[address]
        self.freed[name] += 1
        return (SUCCESS,)

    def _at(self, address, size):
        """The bytes at an address on the GPU or of pinned memory."""
        for memory in self.memory.values():
            begin = address - memory.address
            if 0 <= begin < memory.content.size:
                if begin + size > memory.content.size:
                    self.faults.append(f"{size} bytes where {memory.content.size - begin} are")
                return memory.content[begin : begin + size]
        self.faults.append("a use of memory that is freed, or never was")
        return np.full(size, 0xFF, np.uint8)

    def _floats(self, address, shape):
        return self._at(address, 4 * int(np.prod(shape))).view(np.float32).reshape(shape)

    # --- streams ---

    def cudaStreamCreateWithFlags(self, flags):
        if status := self._begin("cudaStreamCreateWithFlags"):
            return status, None
        assert flags == real.cudaStreamNonBlocking
        self._require_device("a stream")
        number = next(self._numbers)
        self.streams[number] = Queue(len(self.streams), self.device)
        return SUCCESS, real.cudaStream_t(number)

    def cudaStreamDestroy(self, stream):
        if status := self._begin("cudaStreamDestroy"):
            return (status,)
        if self._stream(stream) is None:
            return (INVALID_HANDLE,)
        del self.streams[int(stream)]
        return (SUCCESS,)

    def cudaStreamSynchronize(self, stream):
        if status := self._begin("cudaStreamSynchronize", unsafe=True):
            return (status,)
        queue = self._stream(stream)
        if queue is None:
            return (INVALID_HANDLE,)
        self._run(queue, len(queue.work))
        return (self.broken or SUCCESS,)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        assert type(target) is type(source) is type(size) is int
        assert isinstance(kind, real.cudaMemcpyKind)
        inward = kind == real.cudaMemcpyKind.cudaMemcpyHostToDevice
        if status := self._begin("cudaMemcpyAsync", "in" if inward else "out"):
            return (status,)
        queue = self._stream(stream)
        if queue is None:
            return (INVALID_HANDLE,)
        pinned = {address: memory.guarded is not None for address, memory in self.memory.items()}
        if (pinned.get(source), pinned.get(target)) != (inward, not inward):
            self.faults.append("a copy that is not between pinned memory and the GPU")
        queued = self._at(source, size).copy() if inward else None

        def run():
            found = self._at(source, size)
            if inward and not np.array_equal(found, queued):
                self.faults.append("pinned memory was changed before the copy of it began")
            self._at(target, size)[:] = found

        self.submit(queue, Work("copy in" if inward else "copy out", run, (source, target)))
        return (SUCCESS,)

    def submit(self, queue, work):
        """Queues work, or puts it into the graph that is being captured."""
        if queue.capture is not None:
            work.seen = {address: self.memory.get(address) for address in work.uses}
            queue.capture.append(work)
            return
        queue.work.append(work)
        self._hurry()

    def queue_of(self, handle):
        """The stream with this handle, an int."""
        return self.streams.get(handle)

    def _stream(self, stream):
        assert isinstance(stream, real.cudaStream_t)
        if int(stream) not in self.streams:
            self.faults.append("a use of a stream that is destroyed")
        return self.streams.get(int(stream))

    def _run(self, queue, until):
        """Everything in a stream before the place `until`, and what that waits for."""
        while queue.done < until:
            item = queue.work[queue.done]
            if isinstance(item, Point) and item.stream is not queue:
                self._run(item.stream, item.index + 1)
            self._do(queue)

    def _hurry(self):
        """Lets the eager streams run as far as nothing holds them back."""
        eager = [queue for queue in self.streams.values() if queue.number in self.eager]
        moved = True
        while moved:
            moved = False
            for queue in eager:
                while queue.done < len(queue.work):
                    item = queue.work[queue.done]
                    if isinstance(item, Point) and item.stream is not queue and not item.reached:
                        break
                    self._do(queue)
                    moved = True

    def _do(self, queue):
        item = queue.work[queue.done]
        if isinstance(item, Work) and self.broken is None:
            self.clock += 1.0
            item.run()
        elif isinstance(item, Point) and item.stream is queue:
            item.time = self.clock
        queue.done += 1

    def _pending(self, *, but=None):
        """Work that is queued and not done, in all streams `but` one."""
        queues = [queue for queue in self.streams.values() if queue is not but]
        return [work for queue in queues for work in queue.work[queue.done :] if isinstance(work, Work)]

    # --- events ---

    def cudaEventCreateWithFlags(self, flags):
        if status := self._begin("cudaEventCreateWithFlags"):
            return status, None
        self._require_device("an event")
        number = next(self._numbers)
        self.points[number] = None
        return SUCCESS, real.cudaEvent_t(number)

    def cudaEventDestroy(self, event):
        if status := self._begin("cudaEventDestroy"):
            return (status,)
        if not self._has(event):
            return (INVALID_HANDLE,)
        del self.points[int(event)]
        return (SUCCESS,)

    def cudaEventRecord(self, event, stream):
        if status := self._begin("cudaEventRecord"):
            return (status,)
        queue = self._stream(stream)
        if queue is None or not self._has(event):
            return (INVALID_HANDLE,)
        assert queue.capture is None, "events of captures are not doubled"
        point = Point(queue, len(queue.work))
        queue.work.append(point)
        self.points[int(event)] = point
        self._hurry()
        return (SUCCESS,)

    def cudaStreamWaitEvent(self, stream, event, flags):
        if status := self._begin("cudaStreamWaitEvent"):
            return (status,)
        queue = self._stream(stream)
        if queue is None or not self._has(event):
            return (INVALID_HANDLE,)
        point = self.points[int(event)]
        if point is not None and point.stream is not queue:  # an event that was never recorded holds nobody back
            queue.work.append(point)
        self._hurry()
        return (SUCCESS,)

    def cudaEventSynchronize(self, event):
        if status := self._begin("cudaEventSynchronize", unsafe=True):
            return (status,)
        if not self._has(event):
            return (INVALID_HANDLE,)
        point = self.points[int(event)]
        if point is not None:
            self._run(point.stream, point.index + 1)
        return (self.broken or SUCCESS,)

    def cudaEventElapsedTime(self, start, end):
        if status := self._begin("cudaEventElapsedTime"):
            return status, None
        if not self._has(start) or not self._has(end):
            return INVALID_HANDLE, None
        first, last = self.points[int(start)], self.points[int(end)]
        if first is None or last is None:
            return INVALID_HANDLE, None
        if not first.reached or not last.reached:
            return NOT_READY, None
        return SUCCESS, last.time - first.time

    def _has(self, event):
        assert isinstance(event, real.cudaEvent_t)
        if int(event) not in self.points:
            self.faults.append("a use of an event that is destroyed")
        return int(event) in self.points

    # --- graphs ---

    def cudaStreamBeginCapture(self, stream, mode):
        assert mode == real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        if status := self._begin("cudaStreamBeginCapture"):
            return (status,)
        queue = self._stream(stream)
        if queue is None or queue.capture is not None:
            return (INVALID_HANDLE,)
        queue.capture, queue.spoiled = [], False
        return (SUCCESS,)

    def cudaStreamEndCapture(self, stream):
        self.calls.append(("cudaStreamEndCapture", None))
        queue = self._stream(stream)
        if queue is None or queue.capture is None:
            return real.cudaError_t.cudaErrorIllegalState, None
        captured, queue.capture = queue.capture, None
        if status := self.answers.get("cudaStreamEndCapture") or (CAPTURE_SPOILED if queue.spoiled else None):
            return status, None
        number = next(self._numbers)
        self.graphs[number] = captured
        return SUCCESS, real.cudaGraph_t(number)

    def cudaGraphInstantiate(self, graph, flags):
        if status := self._begin("cudaGraphInstantiate"):
            return status, None
        number = next(self._numbers)
        self.launchable[number] = list(self.graphs[int(graph)])
        return SUCCESS, real.cudaGraphExec_t(number)

    def cudaGraphDestroy(self, graph):
        self._begin("cudaGraphDestroy")
        del self.graphs[int(graph)]
        return (SUCCESS,)

    def cudaGraphLaunch(self, graph, stream):
        if status := self._begin("cudaGraphLaunch"):
            return (status,)
        queue = self._stream(stream)
        if queue is None or int(graph) not in self.launchable:
            self.faults.append("a launch of a graph that is destroyed, or in a stream that is")
            return (INVALID_HANDLE,)
        works = self.launchable[int(graph)]
        uses = tuple(address for work in works for address in work.uses)
        if any(self.memory.get(address) is not memory for work in works for address, memory in work.seen.items()):
            self.faults.append("a launch of a graph whose memory was freed since")

        def run():
            for work in works:
                work.run()

        self.submit(queue, Work("graph", run, uses, owner=int(graph)))
        return (SUCCESS,)

    def cudaGraphExecDestroy(self, graph):
        self._begin("cudaGraphExecDestroy")
        if int(graph) not in self.launchable:
            self.faults.append("a graph is destroyed twice")
            return (INVALID_HANDLE,)
        if any(work.owner == int(graph) for work in self._pending()):
            self.faults.append("a graph is destroyed while it is queued")
        del self.launchable[int(graph)]
        return (SUCCESS,)

    # --- all calls ---

    def _begin(self, name, detail=None, *, unsafe=False):
        """Notes a call. What it has to answer instead of being done, if anything."""
        self.calls.append((name, detail))
        answer = self.answers.get(name)
        if answer is not None:
            return answer
        if unsafe and any(queue.capture is not None for queue in self.streams.values()):
            for queue in self.streams.values():
                queue.spoiled = queue.capture is not None
            return NOT_WHILE_CAPTURED
        frees = ("cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaEventDestroy")
        return None if name in frees else self.broken

    def _require_device(self, what):
        if self.device is None:
            self.faults.append(f"{what} without a current GPU")


# --- TensorRT ---


class Dims:
    """Iterable, as TensorRT's own; no tuple."""

    def __init__(self, sizes):
        self._sizes = tuple(sizes)

    def __iter__(self):
        return iter(self._sizes)

    def __len__(self):
        return len(self._sizes)

    def __getitem__(self, index):
        return self._sizes[index]


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class DataType(enum.Enum):
    FLOAT, HALF, UINT8 = range(3)


class TensorFormat(enum.Enum):
    LINEAR, CHW32, HWC = range(3)


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class CudaGraphStrategy(enum.Enum):
    DISABLED, WHOLE_GRAPH_CAPTURE = range(2)


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY, EAGER, NONE = range(3)


class ILogger:
    """Base of loggers; severities as in the real one."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


def nearest(batch, scale=4):
    """What every engine here computes: pixels repeated, on another scale of brightness, so that no copy looks like it."""
    sr = batch.repeat(scale, axis=2).repeat(scale, axis=3)
    return sr * np.float32(0.75) + np.float32(0.125)


@dataclass
class Plan:
    """What is in the one plan that a double of TensorRT can load."""

    content: bytes = b"ftrt a plan"
    tensors: tuple = (("lr", TensorIOMode.INPUT), ("sr", TensorIOMode.OUTPUT))
    dtypes: tuple = (DataType.FLOAT, DataType.FLOAT)
    formats: tuple = (TensorFormat.LINEAR, TensorFormat.LINEAR)
    sizes: tuple = ((1, 3, 6, 6), (1, 3, 12, 15), (2, 3, 60, 60))
    """Least, best and greatest of the input."""
    scale: int = 4
    result: object = None
    """The result's shape for an input's, where it is not `scale` times as large."""
    scratch: object = lambda shape: 16 * int(np.prod(shape))
    """Bytes that a run needs beside input and output, by the input's shape."""

    def result_of(self, shape):
        if self.result is not None:
            return self.result(shape)
        return (shape[0], 3, shape[2] * self.scale, shape[3] * self.scale)


class TensorRt:
    """The module of one flavour. What a test sets: `refuses`, the names of calls that fail in their own way."""

    def __init__(self, gpu, *, rtx, plan=None, version=None, refuses=()):
        self.gpu, self.rtx = gpu, rtx
        self.plan = Plan() if plan is None else plan
        self.refuses = set(refuses)
        self.ILogger = ILogger
        self.TensorIOMode, self.DataType, self.TensorFormat = TensorIOMode, DataType, TensorFormat
        self.ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
        self.__version__ = version or ("1.7.1.116" if rtx else "11.4.0.7")
        self.written = None
        """Cache of kernels as last serialised."""
        if rtx:
            self.CudaGraphStrategy = CudaGraphStrategy
            self.DynamicShapesKernelSpecializationStrategy = DynamicShapesKernelSpecializationStrategy

    def Runtime(self, log):
        if "Runtime" in self.refuses:
            raise TypeError("factory function returned nullptr")
        return Runtime(self, log)

    def says(self, log, message):
        log.log(ILogger.WARNING, "by the way")
        log.log(ILogger.ERROR, message)


class Runtime:
    def __init__(self, trt, log):
        self.trt, self.log = trt, log
        trt.gpu.objects.add(self)

    def deserialize_cuda_engine(self, plan):
        gpu = self.trt.gpu
        gpu.calls.append(("deserialize_cuda_engine", len(plan)))
        gpu._require_device("an engine")
        if "deserialize_cuda_engine" in self.trt.refuses or plan != self.trt.plan.content:
            self.trt.says(self.log, "this is no plan of mine")
            return None
        return Engine(self.trt, self.log)


class Engine:
    def __init__(self, trt, log):
        self.trt, self.log, self.plan, self.device = trt, log, trt.plan, trt.gpu.device
        trt.gpu.objects.add(self)

    @property
    def num_io_tensors(self):
        return len(self.plan.tensors)

    def _index(self, name):
        return [tensor for tensor, _ in self.plan.tensors].index(name)

    def get_tensor_name(self, index):
        return self.plan.tensors[index][0]

    def get_tensor_mode(self, name):
        return self.plan.tensors[self._index(name)][1]

    def get_tensor_dtype(self, name):
        return self.plan.dtypes[self._index(name)]

    def get_tensor_format(self, name):
        return self.plan.formats[self._index(name)]

    def get_tensor_profile_shape(self, name, profile_index):
        assert profile_index == 0
        return [Dims(size) for size in self.plan.sizes]

    def create_runtime_config(self):
        return None if "create_runtime_config" in self.trt.refuses else RuntimeConfig(self.trt)

    def create_execution_context(self, settings):
        if "create_execution_context" in self.trt.refuses:
            self.trt.says(self.log, "no context")
            return None
        return ExecutionContext(self, settings)


class RuntimeConfig:
    def __init__(self, trt):
        self.trt = trt
        self.strategy = ExecutionContextAllocationStrategy.STATIC
        self.cuda_graph_strategy = CudaGraphStrategy.DISABLED
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
        self.cache = None

    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy

    def create_runtime_cache(self):
        return None if "create_runtime_cache" in self.trt.refuses else RuntimeCache(self.trt)

    def set_runtime_cache(self, cache):
        if "set_runtime_cache" in self.trt.refuses:
            return False
        self.cache = weakref.ref(cache)
        return True


class RuntimeCache:
    """Of kernels, named by the shapes that they are for."""

    MAGIC = b"kernels:"

    def __init__(self, trt):
        self.trt, self.kernels = trt, set()
        trt.gpu.objects.add(self)

    def deserialize(self, blob):
        if not bytes(blob).startswith(self.MAGIC):
            return False
        self.kernels |= set(filter(None, bytes(blob)[len(self.MAGIC) :].decode().split(";")))
        return True

    def serialize(self):
        if "serialize" in self.trt.refuses:
            return None
        if "serialize raises" in self.trt.refuses:
            raise MemoryError
        self.trt.written = self.MAGIC + ";".join(sorted(self.kernels)).encode()
        return memoryview(self.trt.written)  # as IHostMemory: something with a buffer


class ExecutionContext:
    """Binds shapes and addresses, and queues the kernel."""

    def __init__(self, engine, settings):
        self.engine, self.trt, self.gpu, self.plan = engine, engine.trt, engine.trt.gpu, engine.plan
        self.settings = settings
        self.strategy = settings if isinstance(settings, ExecutionContextAllocationStrategy) else settings.strategy
        self.cache = getattr(settings, "cache", None)
        self.shape, self.addresses, self.scratch = None, {}, None
        self.warm = False
        """Whether it ran since the last change of its shape: only then can it be captured."""
        self.binding = 0
        """How often it was bound anew: a graph is good for the binding that it was captured with."""
        self.ran = Counter()
        self.faults = self.gpu.faults
        self.gpu.objects.add(self)
        self._current("is made")

    def __del__(self):
        if self.cache is not None and self.cache() is None:
            self.faults.append("the cache of kernels died before a context that uses it")
        self._idle("dies")

    def set_input_shape(self, name, shape):
        assert type(shape) is tuple
        assert all(type(size) is int for size in shape)
        low, _, high = self.plan.sizes
        taken = all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True))
        if name != self._names(TensorIOMode.INPUT)[0] or not taken or "set_input_shape" in self.trt.refuses:
            self.trt.says(self.engine.log, f"{shape} is outside the profile")
            return False
        self._idle("is bound anew")
        self.shape, self.scratch, self.warm = shape, None, False
        self.binding += 1
        return True

    def infer_shapes(self):
        refuses, unknown = self.trt.refuses, self.shape is None
        del self  # no frame of C++ would keep it in a traceback
        if "infer_shapes raises" in refuses:
            raise RuntimeError("shape inference failed")
        return ["lr"] if "infer_shapes" in refuses or unknown else []

    def get_tensor_shape(self, name):
        return Dims(self.shape if name in self._names(TensorIOMode.INPUT) else self.plan.result_of(self.shape))

    def set_tensor_address(self, name, memory):
        assert type(memory) is int
        if "set_tensor_address" in self.trt.refuses or name not in [tensor for tensor, _ in self.plan.tensors]:
            return False
        self.addresses[name] = memory
        self.warm = False
        self.binding += 1
        return True

    def update_device_memory_size_for_shapes(self):
        return 0 if self.shape is None else self.plan.scratch(self.shape)

    def set_device_memory(self, memory, size):
        assert type(memory) is type(size) is int
        if self.strategy != ExecutionContextAllocationStrategy.USER_MANAGED:
            self.faults.append("memory for a context that has its own")
        if memory % 256 or size < self.plan.scratch(self.shape):
            self.trt.says(self.engine.log, "no such memory")  # which is all that the real one does
            return
        self.scratch = memory, size

    def execute_async_v3(self, stream_handle):
        assert type(stream_handle) is int
        self.gpu.calls.append(("execute_async_v3", self.shape))
        self._current("runs")
        queue = self.gpu.queue_of(stream_handle)
        names = [tensor for tensor, _ in self.plan.tensors]
        ready = self.shape is not None and self.scratch is not None and set(self.addresses) == set(names)
        if queue is None or not ready or "execute_async_v3" in self.trt.refuses:
            self.trt.says(self.engine.log, "not everything is set")
            return False
        if queue.capture is not None and (self.trt.rtx or not self.warm or "capture" in self.trt.refuses):
            queue.spoiled = True
            self.trt.says(self.engine.log, "this cannot be captured")
            return False
        if any(self.scratch[0] in work.uses for work in self.gpu._pending(but=queue)):
            self.faults.append("scratch memory that another stream uses")
        self.warm = queue.capture is None or self.warm
        lr, sr = (self.addresses[name] for name in names)
        uses = (lr, sr, self.scratch[0])
        run = self._kernel(lr, sr, self.scratch, self.shape, in_graph=queue.capture is not None)
        work = Work("kernel", run, uses, owner=id(self))
        self.gpu.submit(queue, work)
        return True

    def _kernel(self, lr, sr, scratch, shape, *, in_graph):
        """What runs on the GPU: everything bound now, whatever is bound later."""
        gpu, plan = self.gpu, self.plan
        kernels = None if self.cache is None else self.cache()
        if kernels is not None:
            kernels.kernels.add("x".join(map(str, shape)))
        lazy = (
            getattr(self.settings, "dynamic_shapes_kernel_specialization_strategy", None)
            is DynamicShapesKernelSpecializationStrategy.LAZY
        )
        self.ran[shape] += 1
        fallback = lazy and self.ran[shape] == 1
        here, binding = weakref.ref(self), self.binding

        def run():
            if in_graph and (here() is None or here().binding != binding):
                gpu.faults.append("a graph outlived what it was captured from")
            if gpu.kernel_status is not None:
                gpu.broken = gpu.kernel_status
                return
            gpu._at(scratch[0], plan.scratch(shape))[:] = 0xAA
            result = plan.result_of(shape)
            found = nearest(gpu._floats(lr, shape), plan.scale)
            gpu._floats(sr, result)[:] = found[:, :, : result[2], : result[3]] + np.float32(1e-6 * fallback)

        return run

    def _names(self, mode):
        return [name for name, found in self.plan.tensors if found is mode]

    def _idle(self, what):
        if any(work.owner == id(self) for work in self.gpu._pending()):
            self.faults.append(f"a context {what} while its work is queued")

    def _current(self, what):
        if self.gpu.device != self.engine.device:
            self.faults.append(f"a context {what} while another GPU is current")


@contextlib.contextmanager
def checked(gpu):
    """Whatever happens inside, nothing forbidden does, and nothing is left at the end."""
    yield gpu
    if gpu.leftovers():  # an error's traceback may hold a context a little longer
        gc.collect()
    assert gpu.faults == []
    assert gpu.leftovers() == {}


def drained(generator):
    """Runs a generator to its end, for nothing but what it does."""
    deque(generator, maxlen=0)
