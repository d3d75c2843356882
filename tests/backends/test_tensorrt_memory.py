"""The memory of engines: taken once, measured, and given back where it runs out."""

import numpy as np
import pytest
from double_engines import ANY_SCHEDULE, FLAVOURS, PLAN, batch_of, batches_of, drained, opened
from doubles import SCHEDULES, nearest

from gpsr_deploy.backends import tensorrt
from gpsr_deploy.backends.trt_session import SCARCE
from gpsr_deploy.errors import ModelRefused, OutOfMemory
from gpsr_deploy.upscaling.upscale import Tiling, upscale

# --- memory that is taken ---


def test_memory_is_taken_once_for_all_batches(gpu):
    with opened(gpu) as backend:
        drained(backend.infer_each(batches_of(2, size=(2, 12, 15))))
        before = gpu.allocations
        drained(backend.infer_each(batches_of(9, size=(2, 12, 15))))
        drained(backend.infer_each(batches_of(9, size=(1, 6, 6))))
        assert gpu.allocations == before


def test_copies_and_memory_are_measured(gpu):
    with opened(gpu) as backend:
        assert (backend.copy_seconds, backend.peak_bytes) == (0.0, 0)
        backend.infer(batch_of(1, 12, 15))
        assert backend.copy_seconds == 0.002  # by the double's clock, one millisecond for each
        taken = backend.peak_bytes
        assert 4 * 12 * 15 * 3 * (1 + 16) <= taken <= gpu.used
        drained(backend.infer_each(batches_of(3)))
        assert backend.copy_seconds == pytest.approx(0.006)
        peak = backend.peak_bytes
        assert taken <= peak <= gpu.used
        backend.infer(batch_of(1, 6, 6))
        assert backend.peak_bytes == peak


def test_the_memory_of_another_engine_is_not_counted(gpu):
    with opened(gpu) as alone:
        alone.infer(batch_of(1, 12, 15))
        peak = alone.peak_bytes
        with opened(gpu) as other:
            other.infer(batch_of(1, 24, 24))
            alone.infer(batch_of(1, 12, 15))
        assert alone.peak_bytes == peak


# --- memory that runs out ---


@FLAVOURS
def test_every_allocation_may_fail_and_nothing_is_lost(gpu, rtx):
    """At whichever it is: the backend says so, goes on to work, and frees everything."""
    batches = [batch_of(1, 12, 15), batch_of(2, 60, 60), batch_of(1, 12, 15), batch_of(1, 12, 15)]

    def used(backend):
        return [
            np.array_equal(found, nearest(batch))
            for found, batch in zip(backend.infer_each(batches), batches, strict=False)
        ]

    with opened(gpu, rtx=rtx) as backend:
        assert used(backend) == [True] * 4
    allocations, gpu.allocations = gpu.allocations, 0
    assert allocations == 2 * 4 + 2  # for two batches on their way, scratch memory, and more of it
    for failing in range(1, allocations + 1):
        for schedule in SCHEDULES.values():
            gpu.eager, gpu.allocations, gpu.failing_allocation = schedule, 0, failing
            with opened(gpu, rtx=rtx) as backend:
                with pytest.raises(OutOfMemory, match=r"error\[6\]"):
                    used(backend)
                assert used(backend) == [True] * 4
            assert gpu.leftovers().keys() <= {"objects of TensorRT"}  # which an error's traceback may hold


@FLAVOURS
def test_memory_that_runs_out_gives_back_what_was_taken(gpu, rtx):
    """A smaller batch is tried next, and may need just that."""
    with opened(gpu, rtx=rtx) as backend:
        backend.infer(batch_of(1, 6, 6))
        least = gpu.used
        gpu.total = gpu.used + SCARCE
        backend.infer(batch_of(2, 60, 60))
        gpu.total = gpu.used
        with pytest.raises(OutOfMemory):
            drained(backend.infer_each([batch_of(2, 60, 60)] * 2))
        assert gpu.used < least
        assert np.array_equal(backend.infer(batch_of(1, 12, 15)), nearest(batch_of(1, 12, 15)))


@ANY_SCHEDULE
def test_upscale_goes_on_with_a_smaller_batch_and_then_a_smaller_tile(gpu, schedule):
    gpu.eager = SCHEDULES[schedule]
    lr = np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8)
    with opened(gpu) as backend:
        wanted = upscale(backend, lr, tiling=Tiling(tile=(60, 60))).sr
    highest = 4 * sum(3 * 2 * 60 * 60 * factor for factor in (1, 16)) * 2 + PLAN.scratch((2, 3, 60, 60))
    tiles = set()
    for share in (1.1, 0.6, 0.4, 0.25, 0.15):
        gpu.total = int(highest * share)
        with opened(gpu) as backend:
            found = upscale(backend, lr, tiling=Tiling(tile=(60, 60)))
        assert np.array_equal(found.sr, wanted)
        tiles.add(found.plan.tile)
    assert len(tiles) > 1
    gpu.total = 1000
    with opened(gpu) as backend, pytest.raises(OutOfMemory):
        upscale(backend, lr)


def test_a_host_without_memory_for_a_result_is_out_of_memory_too(gpu, monkeypatch):
    def nothing(*_):
        raise MemoryError

    batches = [batch_of(1, 6, 6), batch_of(3, 6, 6)]
    with opened(gpu) as backend:
        with monkeypatch.context() as patched:
            patched.setattr(tensorrt.np, "empty", nothing)
            for batch in batches:
                with pytest.raises(OutOfMemory):
                    backend.infer(batch)
        assert not gpu._pending()
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))


@pytest.mark.parametrize("refused", ["Runtime", "deserialize_cuda_engine", "create_execution_context"])
@FLAVOURS
def test_where_the_gpu_is_full_the_library_is_believed_to_lack_memory(gpu, rtx, refused):
    """It does not say so by type."""
    gpu.total = SCARCE - 1
    with pytest.raises(OutOfMemory):
        opened(gpu, rtx=rtx, refuses={refused})
    gpu.total = SCARCE
    with pytest.raises(ModelRefused, match=r"error\[5\]"):
        opened(gpu, rtx=rtx, refuses={refused})
