"""The double of CUDA's runtime API: devices, memory, streams, events and graphs."""

import itertools
import threading
import weakref
from collections import Counter
from types import SimpleNamespace

import numpy as np
from cuda.bindings import runtime as real

from doubles.work import GUARD, Memory, Point, Queue, Work

SUCCESS = real.cudaError_t.cudaSuccess
OUT_OF_MEMORY = real.cudaError_t.cudaErrorMemoryAllocation
INVALID_HANDLE = real.cudaError_t.cudaErrorInvalidResourceHandle
NOT_READY = real.cudaError_t.cudaErrorNotReady
NOT_WHILE_CAPTURED = real.cudaError_t.cudaErrorStreamCaptureUnsupported
CAPTURE_SPOILED = real.cudaError_t.cudaErrorStreamCaptureInvalidated


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
