"""Engines keep the contract of all backends, whichever of their streams is ahead."""

import numpy as np
import pytest
from double_engines import ANY_SCHEDULE, FLAVOURS, PROFILE, batch_of, batches_of, opened, spec_of
from doubles import SCHEDULES, nearest

from gpsr_deploy.backends import UNMEASURED_HALO, Pipelined
from gpsr_deploy.errors import ModelRefused, UsageError

SIZES = pytest.mark.parametrize("size", [(1, 6, 6), (2, 6, 60), (1, 60, 6), (5, 12, 9), (4, 9, 9)], ids=str)


@FLAVOURS
@ANY_SCHEDULE
@SIZES
def test_it_computes_what_the_engine_computes(gpu, rtx, schedule, size):
    """Batches of more than the profile's two too."""
    gpu.eager = SCHEDULES[schedule]
    with opened(gpu, rtx=rtx) as backend:
        for seed in range(4):
            batch = batch_of(*size, seed=seed)
            found = backend.infer(batch)
            assert found.dtype == np.float32
            assert np.array_equal(found, nearest(batch))


@FLAVOURS
@ANY_SCHEDULE
def test_sizes_may_change_from_batch_to_batch(gpu, rtx, schedule):
    gpu.eager = SCHEDULES[schedule]
    sizes = [(1, 6, 6), (2, 12, 9), (1, 6, 6), (1, 60, 60), (1, 9, 6), (2, 12, 9), (2, 12, 9), (2, 12, 9), (1, 6, 9)]
    batches = [batch_of(*size, seed=place) for place, size in enumerate(sizes)]
    with opened(gpu, rtx=rtx) as backend:
        for found, batch in zip(backend.infer_each(batches), batches, strict=True):
            assert np.array_equal(found, nearest(batch))
        for batch in batches:
            assert np.array_equal(backend.infer(batch), nearest(batch))


def test_it_says_what_it_does(gpu):
    spec = spec_of()
    with opened(gpu) as backend:
        assert (backend.spec, backend.profile, backend.engine) == (spec.sr, PROFILE, spec)
        assert (backend.runtime, backend.device, backend.gpu) == ("tensorrt", "cuda:0", "NVIDIA Double")
        assert backend.bytes_per_pixel == spec.costs.activation_bytes
        assert isinstance(backend, Pipelined)


def test_an_engine_without_a_sidecar_is_asked_itself(gpu):
    with opened(gpu, engine=None) as backend:
        assert backend.engine is None
        assert (backend.spec.scale, backend.spec.halo, backend.profile) == (4, UNMEASURED_HALO, PROFILE)
        assert backend.bytes_per_pixel >= 4 * 3 * (1 + 4**2)
        assert np.array_equal(backend.infer(batch_of(1, 6, 9)), nearest(batch_of(1, 6, 9)))


@FLAVOURS
def test_the_same_batch_gives_the_same_bits(gpu, rtx):
    with opened(gpu, rtx=rtx) as backend:
        first = backend.infer(batch_of(1, 12, 9))
        backend.infer(batch_of(1, 24, 24))
        assert np.array_equal(backend.infer(batch_of(1, 12, 9)), first)


def test_a_result_is_the_callers_own(gpu):
    with opened(gpu) as backend:
        results = list(backend.infer_each(batches_of(5)))
        kept = [result.copy() for result in results]
        backend.infer(batch_of(1, 60, 60))
        for result, copy in zip(results, kept, strict=True):
            assert result.flags.owndata
            assert result.flags.writeable
            assert np.array_equal(result, copy)
    assert np.array_equal(results[0], kept[0])


def test_the_input_is_only_read_in_any_layout(gpu):
    batch = batch_of(1, 6, 9)
    before = batch.copy()
    batch.setflags(write=False)
    with opened(gpu) as backend:
        for layout in (batch, np.asfortranarray(batch), batch[:, ::-1][:, ::-1], np.broadcast_to(batch, (2, 3, 6, 9))):
            assert np.array_equal(backend.infer(layout), nearest(np.ascontiguousarray(layout)))
    assert np.array_equal(batch, before)


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 6, 6), (1, 4, 6, 6), (1, 3, 7, 6), (1, 3, 6, 8), (0, 3, 6, 6), (1, 3, 3, 6), (1, 3, 6, 63), (3, 6, 6)],
    ids=str,
)
def test_a_batch_that_the_engine_does_not_take_is_refused(gpu, shape):
    """And never answered with the pixels of the batch before."""
    with opened(gpu) as backend:
        backend.infer(batch_of(1, 6, 6))
        with pytest.raises(ModelRefused, match=r"error\[5\]"):
            backend.infer(np.zeros(shape, np.float32))
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))


def test_a_size_outside_the_profile_is_told_with_what_was_built(gpu):
    with opened(gpu) as backend:
        with pytest.raises(ModelRefused, match=r"\(1 to 2, 3, 6 to 60, 6 to 60\), multiples of 3.*--tile"):
            backend.infer(batch_of(1, 60, 63))
        with pytest.raises(ModelRefused, match="1 to 2"):  # whose caller counts on one run for each
            next(backend.infer_each([batch_of(3, 6, 6)]))


@FLAVOURS
def test_closing_twice_is_harmless_and_using_it_then_is_an_error(gpu, rtx):
    backend = opened(gpu, rtx=rtx)
    with backend as entered:
        assert entered is backend
        waiting = backend.infer_each(batches_of(4))
        next(waiting)
        backend.close()
        with pytest.raises(UsageError, match="closed"):
            next(waiting)
    backend.close()
    with opened(gpu, rtx=rtx) as backend:
        waiting = backend.infer_each(batches_of(2))
        next(waiting)  # whose second and last result is on its way
        backend.close()
        with pytest.raises(UsageError, match="closed"):
            next(waiting)
    for use in (backend.infer, backend.infer_on_device, lambda batch: next(backend.infer_each([batch]))):
        with pytest.raises(UsageError, match="closed"):
            use(batch_of(1, 6, 6))
