"""Arrays on the GPU through an engine: enlarged where they lie, beside batches that flow."""

import gc

import numpy as np
import pytest
from double_engines import ANY_SCHEDULE, FLAVOURS, PLAN, batch_of, batches_of, opened
from doubles import SCHEDULES, Gpu, TensorRt, nearest

from gpsr_deploy.backends import device_array
from gpsr_deploy.errors import ModelRefused, OutOfMemory, UsageError


class OnGpu:
    """Somebody's array on the double, with CUDA's array interface."""

    def __init__(self, gpu, array):
        self.gpu, self.shape = gpu, array.shape
        gpu.cudaSetDevice(0)
        self.address = gpu.cudaMalloc(max(array.nbytes, 1))[1]
        gpu.write(self.address, array)

    def free(self):
        self.gpu.cudaFree(self.address)


@pytest.fixture
def seen(monkeypatch):
    """cuda-core, which would ask the driver about an address, stands aside. The streams that it was given."""
    streams = []

    class MemoryView:
        def __init__(self, array, stream_ptr):
            streams.append(stream_ptr)
            self.ptr, self.shape, self.strides = array.address, array.shape, None
            self.dtype, self.device_id, self.is_device_accessible = np.dtype(np.float32), 0, True

        from_any_interface = classmethod(lambda cls, array, stream_ptr: cls(array, stream_ptr))

    monkeypatch.setattr(device_array, "_memory_view", lambda: MemoryView)
    return streams


@FLAVOURS
@ANY_SCHEDULE
def test_arrays_on_the_gpu_are_enlarged_there(gpu, seen, rtx, schedule):
    gpu.eager = SCHEDULES[schedule]
    with opened(gpu, rtx=rtx) as backend:
        for seed in range(4):
            batch = batch_of(2, 9, 6, seed=seed)
            lr = OnGpu(gpu, batch)
            gpu.calls.clear()
            with backend.infer_on_device(lr) as sr:
                assert sr.shape == (2, 3, 36, 24)
                assert np.array_equal(gpu.read(sr.address, sr.shape), nearest(batch))  # without a wait
            assert not gpu.names("cudaMemcpyAsync", "cudaGraphLaunch")
            lr.free()
        assert seen == [int(backend._compute.handle)] * 4


@FLAVOURS
def test_arrays_on_the_gpu_may_lie_anywhere(gpu, seen, rtx):
    """The one before, and its result, are still there."""
    batches = batches_of(4)
    arrays = [OnGpu(gpu, batch) for batch in batches]
    with opened(gpu, rtx=rtx) as backend:
        results = [backend.infer_on_device(lr) for lr in arrays for _ in range(3)]
    for place, result in enumerate(results):
        assert np.array_equal(gpu.read(result.address, result.shape), nearest(batches[place // 3]))
        result.close()
    for lr in arrays:
        lr.free()


@pytest.mark.parametrize("kept", ["lr", "sr"])
def test_an_array_at_another_address_is_no_other(gpu, seen, kept):
    """Only one of input and output moves, as where a caller keeps the one and frees the other."""
    with opened(gpu) as backend:
        lr = OnGpu(gpu, batch_of(1, 6, 6))
        backend.infer_on_device(lr).close()
        if kept == "lr":
            moved = gpu.cudaMalloc(4 * 3 * 24 * 24)[1]  # where the result was
            sr = backend.infer_on_device(lr)
            gpu.cudaFree(moved)
            batch = batch_of(1, 6, 6)
        else:
            batch = batch_of(1, 6, 6, seed=1)
            other = OnGpu(gpu, batch)
            sr = backend.infer_on_device(other)
            other.free()
        assert np.array_equal(gpu.read(sr.address, sr.shape), nearest(batch))
        sr.close()
        lr.free()


def test_an_interrupt_while_the_gpu_works_frees_nothing_that_it_uses(gpu, seen, monkeypatch):
    lr = OnGpu(gpu, batch_of(1, 6, 6))
    with opened(gpu) as backend:
        wait = Gpu.cudaStreamSynchronize

        def interrupted(self, stream):
            monkeypatch.setattr(Gpu, "cudaStreamSynchronize", wait)
            raise KeyboardInterrupt

        backend.infer_on_device(lr).close()
        monkeypatch.setattr(Gpu, "cudaStreamSynchronize", interrupted)
        with pytest.raises(KeyboardInterrupt):
            backend.infer_on_device(lr)
    lr.free()


def test_a_result_on_the_gpu_outlives_the_backend(gpu, seen):
    batch = batch_of(1, 6, 6)
    lr = OnGpu(gpu, batch)
    with opened(gpu) as backend:
        sr = backend.infer_on_device(lr)
    assert np.array_equal(gpu.read(sr.address, sr.shape), nearest(batch))
    lr.free()
    del sr
    gc.collect()
    assert gpu.memory == {}


def test_arrays_on_the_gpu_do_not_disturb_batches_that_flow(gpu, seen):
    lr = OnGpu(gpu, batch_of(2, 60, 60))
    batches = batches_of(4)
    with opened(gpu) as backend:
        for first in range(4):  # from another place on each time: some of the graphs are there by then
            for place, found in enumerate(backend.infer_each(batches)):
                assert np.array_equal(found, nearest(batches[place]))
                if place >= first:
                    with backend.infer_on_device(lr) as sr:
                        assert np.array_equal(gpu.read(sr.address, sr.shape), nearest(batch_of(2, 60, 60)))
    lr.free()


@pytest.mark.parametrize(
    "shape", [(1, 3, 63, 6), (3, 3, 6, 6), (1, 3, 7, 6), (1, 1, 6, 6), (6, 6), (0, 3, 6, 6)], ids=str
)
def test_an_array_that_the_engine_does_not_take_is_refused(gpu, seen, shape):
    lr = OnGpu(gpu, np.zeros(shape, np.float32))
    with opened(gpu) as backend, pytest.raises(ModelRefused, match="as it was built"):
        backend.infer_on_device(lr)
    lr.free()


@pytest.mark.parametrize("refused", ["execute_async_v3", "set_tensor_address", "set_input_shape"])
def test_a_failure_on_the_gpu_frees_the_result(gpu, seen, refused):
    trt = TensorRt(gpu, rtx=False, plan=PLAN)
    lr = OnGpu(gpu, batch_of(1, 6, 6))
    with opened(gpu, trt=trt) as backend:
        trt.refuses = {refused}
        with pytest.raises(ModelRefused) as caught:
            backend.infer_on_device(lr)
        assert len(gpu.memory) == 1 + (refused == "execute_async_v3")  # the scratch memory stays
        del caught
        trt.refuses = set()
        backend.infer_on_device(lr).close()
    lr.free()


def test_a_gpu_without_memory_for_the_result_gives_back_what_batches_took(gpu, seen):
    lr = OnGpu(gpu, batch_of(1, 60, 60))
    with opened(gpu) as backend:
        backend.infer(batch_of(2, 60, 60))
        gpu.total = gpu.used
        with pytest.raises(OutOfMemory):
            backend.infer_on_device(lr)
        assert set(gpu.memory) == {lr.address}
        backend.infer_on_device(lr).close()
    lr.free()


def test_a_graph_does_not_outlive_memory_that_was_given_back(gpu, seen):
    """Though the same addresses come back."""
    lr, batch = OnGpu(gpu, batch_of(1, 60, 60)), batch_of(1, 12, 15)
    with opened(gpu) as backend:
        backend.infer(batch)
        backend.infer(batch)
        assert gpu.launchable
        gpu.total = gpu.used
        with pytest.raises(OutOfMemory):
            backend.infer_on_device(lr)
        assert not gpu.launchable
        gpu.total = 1 << 30
        assert np.array_equal(backend.infer(batch), nearest(batch))
    lr.free()


def test_results_that_are_gone_are_not_given(gpu, seen):
    """Memory that ran out took those of batches that were on their way."""
    lr = OnGpu(gpu, batch_of(1, 60, 60))
    with opened(gpu) as backend:
        waiting = backend.infer_each(batches_of(3))
        next(waiting)
        gpu.total = gpu.used
        with pytest.raises(OutOfMemory):
            backend.infer_on_device(lr)
        gpu.total = 1 << 30
        with pytest.raises(UsageError):
            next(waiting)
    lr.free()
