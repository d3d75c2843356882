"""CUDA's calls on a double: every status has its error, everything is freed once, and the order is that of streams and events."""

import gc
import sys
import threading

import doubles
import numpy as np
import pytest
from doubles import Gpu, Work, real

from gpsr_deploy.backends.cuda import Cuda, DeviceMemory, Owned, PinnedMemory, Room, bindings
from gpsr_deploy.errors import BackendUnavailable, ModelRefused, OutOfMemory

KINDS = pytest.mark.parametrize("kind", [DeviceMemory, PinnedMemory])


@pytest.fixture
def cuda(gpu):
    return Cuda(gpu)


# --- statuses ---


@pytest.mark.parametrize("status", list(real.cudaError_t), ids=lambda status: status.name)
def test_every_status_has_its_error(cuda, status):
    if status == real.cudaError_t.cudaSuccess:
        assert cuda.check((status, 7)) == 7
        return
    with pytest.raises((ModelRefused, OutOfMemory)) as caught:
        cuda.check((status, None))
    if status == real.cudaError_t.cudaErrorMemoryAllocation:
        assert (type(caught.value), caught.value.exit_code) == (OutOfMemory, 6)
        assert "--tile" in caught.value.remedy
    else:
        assert (type(caught.value), caught.value.exit_code) == (ModelRefused, 5)
        assert status.name in caught.value.found


def test_values_come_as_they_are(cuda):
    assert cuda.check((0,)) is None
    assert cuda.check((0, 0)) == 0
    assert cuda.check((0, 1, 2)) == (1, 2)


def test_a_status_without_a_name_is_told_by_its_number(cuda):
    with pytest.raises(ModelRefused, match="12345"):
        cuda.check((12345,))


# --- GPUs ---


@pytest.mark.parametrize("status", [35, 100])
@pytest.mark.parametrize("index", [0, 1])
def test_without_a_driver_or_a_gpu_there_is_the_way_out(gpu, status, index):
    gpu.answers["cudaGetDeviceCount"] = real.cudaError_t(status)
    with pytest.raises(BackendUnavailable, match=r"error\[5\].*\.onnx model with --device cpu"):
        Cuda(gpu, index)
    assert gpu.names("cudaSetDevice", "cudaGetDeviceProperties") == []


def test_a_count_of_none_is_no_gpu(gpu):
    gpu.count = 0
    with pytest.raises(BackendUnavailable, match="no CUDA device"):
        Cuda(gpu)


@pytest.mark.parametrize("call", ["cudaGetDeviceCount", "cudaSetDevice", "cudaGetDeviceProperties"])
def test_a_driver_that_is_there_and_fails_is_told_by_name(gpu, call):
    gpu.answers[call] = real.cudaError_t.cudaErrorSystemDriverMismatch
    with pytest.raises(ModelRefused, match="cudaErrorSystemDriverMismatch") as caught:
        Cuda(gpu)
    assert isinstance(caught.value, BackendUnavailable) == (call == "cudaGetDeviceCount")


def test_a_gpu_is_found_by_its_index():
    gpu = Gpu(count=2)
    cuda = Cuda(gpu, 1)
    assert (cuda.index, gpu.device) == (1, 1)
    assert (cuda.name, cuda.compute_capability) == ("NVIDIA Double", "8.9")
    with pytest.raises(BackendUnavailable, match=r"no GPU 2.*cuda:0 to cuda:1"):
        Cuda(gpu, 2)


def test_a_gpu_is_current_in_the_thread_that_asks():
    gpu = Gpu(count=2)
    cuda, found = Cuda(gpu, 1), []
    gpu.cudaSetDevice(0)

    def ask():
        found.append(gpu.device)
        cuda.make_current()
        found.append(gpu.device)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found == [None, 1]
    assert gpu.device == 0


def test_free_memory_is_what_nobody_took(gpu, cuda):
    before = cuda.free_memory()
    with DeviceMemory(cuda, 1000):
        assert cuda.free_memory() == before - 1000
    assert cuda.free_memory() == before


def test_cuda_python_that_is_not_installed_names_the_extras(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendUnavailable, match=r"gpsr-deploy\[rtx\] or gpsr-deploy\[trt\]"):
        bindings()


# --- what is owned ---


def test_what_is_owned_is_freed_once():
    freed = []
    owned = Owned(lambda: (freed.append(None),))
    with owned as entered:
        assert entered is owned
    owned.close()
    assert len(freed) == 1


def test_freeing_does_not_fail(cuda, gpu):
    """There would be nothing left to do about it, and another error may be on its way."""
    stream = cuda.stream()
    gpu.answers["cudaStreamDestroy"] = real.cudaError_t.cudaErrorIllegalAddress
    stream.close()
    gpu.answers.clear()
    gpu.cudaStreamDestroy(stream.handle)


@pytest.mark.parametrize(
    ("call", "make"),
    [
        ("cudaStreamCreateWithFlags", lambda cuda: cuda.stream()),
        ("cudaEventCreateWithFlags", lambda cuda: cuda.event()),
        ("cudaMalloc", lambda cuda: DeviceMemory(cuda, 100)),
        ("cudaHostAlloc", lambda cuda: PinnedMemory(cuda, 100)),
    ],
)
def test_what_was_not_made_is_not_freed(gpu, cuda, call, make):
    gpu.answers[call] = doubles.OUT_OF_MEMORY
    with pytest.raises(OutOfMemory):
        make(cuda)
    gc.collect()
    assert not gpu.freed


# --- memory ---


def test_pinned_memory_is_seen_as_floats(cuda):
    with PinnedMemory(cuda, 100) as memory:
        array = memory.floats((2, 3, 4))
        assert (array.dtype, array.shape) == (np.float32, (2, 3, 4))
        array[:] = 7
        assert np.array_equal(memory.floats((5, 5))[:4], np.full((4, 5), 7))
        with pytest.raises(ValueError, match="floats in 100 bytes"):
            memory.floats((2, 13))


@KINDS
def test_room_is_used_again_and_grows(gpu, cuda, kind):
    with Room(cuda, kind) as room:
        assert room.size == 0
        first = room.of(100)
        assert room.of(100) == room.of(40) == first
        assert (gpu.allocations, room.size) == (1, 100)
        room.of(200)
        assert (gpu.allocations, len(gpu.memory), room.size) == (2, 1, 200)
        room.clear()
        assert (gpu.memory, room.size) == ({}, 0)
        room.of(50)
        assert len(gpu.memory) == 1
    assert gpu.memory == {}
    room.close()


def test_room_lets_go_before_it_grows(gpu, cuda):
    gpu.total = 1000
    with Room(cuda, DeviceMemory) as room:
        room.of(600)
        room.of(900)


@KINDS
def test_room_that_could_not_grow_is_empty_and_may_be_asked_again(gpu, cuda, kind):
    with Room(cuda, kind) as room:
        room.of(100)
        gpu.failing_allocation = 2
        with pytest.raises(OutOfMemory):
            room.of(200)
        assert gpu.memory == {}
        room.of(200)
        assert room.size == 200


def test_only_pinned_room_is_seen_as_floats(cuda):
    with Room(cuda, PinnedMemory) as pinned, Room(cuda, DeviceMemory) as other:
        pinned.of(100)
        other.of(100)
        assert pinned.floats((5, 5)).shape == (5, 5)
        with pytest.raises(AssertionError):
            other.floats((5, 5))


# --- streams and events ---


def test_a_copy_goes_there_and_back_when_somebody_waits(gpu, cuda):
    with PinnedMemory(cuda, 40) as there, PinnedMemory(cuda, 40) as back, DeviceMemory(cuda, 40) as memory:
        with cuda.stream() as stream:
            there.floats((10,))[:] = np.arange(10)
            stream.copy(memory.address, there.address, 40, to_device=True)
            stream.copy(back.address, memory.address, 40, to_device=False)
            assert np.isnan(back.floats((10,))).all()
            stream.synchronize()
            assert np.array_equal(back.floats((10,)), np.arange(10))


def queued(gpu, stream, name, log):
    gpu.submit(gpu.queue_of(int(stream.handle)), Work(name, lambda: log.append(name), ()))


@pytest.mark.parametrize("eager", [(), (0,), (1,), (0, 1)])
def test_an_event_orders_two_streams(gpu, cuda, eager):
    gpu.eager, log = eager, []
    with cuda.stream() as first, cuda.stream() as second, cuda.event() as event:
        queued(gpu, first, "before", log)
        event.record(first)
        queued(gpu, first, "beside", log)
        second.wait_for(event)
        queued(gpu, second, "after", log)
        second.synchronize()
        assert log.index("before") < log.index("after")
        first.synchronize()


def test_an_event_is_waited_for_alone(gpu, cuda):
    log = []
    with cuda.stream() as stream, cuda.event() as begun, cuda.event() as done:
        begun.record(stream)
        queued(gpu, stream, "one", log)
        done.record(stream)
        queued(gpu, stream, "two", log)
        done.synchronize()
        assert log == ["one"]
        assert done.seconds_since(begun) == 0.001
        stream.synchronize()
        assert log == ["one", "two"]


def test_time_is_not_told_before_it_has_passed(cuda):
    with cuda.stream() as stream, cuda.event() as begun, cuda.event() as done:
        with pytest.raises(ModelRefused, match="InvalidResourceHandle"):
            done.seconds_since(begun)
        begun.record(stream)
        done.record(stream)
        with pytest.raises(ModelRefused, match="NotReady"):
            done.seconds_since(begun)
        stream.synchronize()
        assert done.seconds_since(begun) == 0.0


# --- graphs ---


def test_what_is_captured_runs_at_each_launch_and_not_before(gpu, cuda):
    log = []
    with cuda.stream() as stream:
        with stream.capture() as captured:
            queued(gpu, stream, "one", log)
            queued(gpu, stream, "two", log)
        (graph,) = captured
        stream.synchronize()
        assert log == []
        with graph:
            graph.launch(stream)
            graph.launch(stream)
            stream.synchronize()
        assert log == ["one", "two"] * 2
        queued(gpu, stream, "alone", log)
        stream.synchronize()
        assert log[-1] == "alone"


def test_an_error_within_a_capture_ends_it(gpu, cuda):
    log = []
    with cuda.stream() as stream:
        with pytest.raises(ZeroDivisionError), stream.capture() as captured:
            queued(gpu, stream, "never", log)
            raise ZeroDivisionError
        assert captured == []
        assert gpu.graphs == {}
        queued(gpu, stream, "after", log)
        stream.synchronize()
        assert log == ["after"]


def test_a_spoiled_capture_is_an_error(gpu, cuda):
    with cuda.stream() as stream:
        with pytest.raises(ModelRefused, match="Unsupported"), stream.capture():
            DeviceMemory(cuda, 100)
        with pytest.raises(ModelRefused, match="Invalidated"), stream.capture():
            gpu.cudaMalloc(100)
        stream.synchronize()


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_each_step_of_a_capture_may_fail(gpu, cuda, call):
    with cuda.stream() as stream:
        for status, raised in ((doubles.OUT_OF_MEMORY, OutOfMemory), (doubles.INVALID_HANDLE, ModelRefused)):
            gpu.answers[call] = status
            with pytest.raises(raised), stream.capture() as captured:
                captured.append("nothing")
        gpu.answers.clear()
        assert (gpu.graphs, gpu.launchable) == ({}, {})
        with stream.capture() as captured:
            pass
        captured[0].close()
