"""The order of an engine's work: batches in flight, streams beside each other, several GPUs and threads."""

import itertools
import threading

import doubles
import numpy as np
import pytest
from double_engines import ANY_SCHEDULE, batch_of, batches_of, drained, opened
from doubles import SCHEDULES, Gpu, Work, nearest

from gpsr_deploy.errors import UsageError

# --- batches in flight ---


@ANY_SCHEDULE
def test_the_next_batch_is_on_its_way_before_the_last_result_is_taken(gpu, schedule):
    gpu.eager = SCHEDULES[schedule]

    def batches():
        for batch in batches_of(4):
            gpu.calls.append(("taken", None))
            yield batch

    with opened(gpu) as backend:
        gpu.calls.clear()
        for _ in backend.infer_each(batches()):
            gpu.calls.append(("given", None))
    wanted = ("taken", "given", "cudaMemcpyAsync", "execute_async_v3", "cudaGraphLaunch")
    order = [detail if name == "cudaMemcpyAsync" else name for name, detail in gpu.calls if name in wanted]
    run, launch = ["taken", "in", "execute_async_v3"], ["taken", "in", "execute_async_v3", "cudaGraphLaunch"]
    assert order == [
        *run, *run, "out", "given",
        *launch, "out", "given",
        *launch, "out", "given",
        "out", "given",
    ]  # fmt: skip


def test_copies_go_in_one_stream_and_the_network_in_another(gpu):
    """And neither waits for the other, but where an event says so: while one batch is computed, the next comes in."""
    with opened(gpu) as backend:
        waiting = backend.infer_each(batches_of(2))
        next(waiting)  # the first batch is here, the second is queued whole
        copies, compute = gpu.streams.values()
        assert [work.name for work in copies.work if isinstance(work, Work)] == ["copy in", "copy in", "copy out"]
        assert [work.name for work in compute.work if isinstance(work, Work)] == ["kernel", "kernel"]
        assert copies.done == len(copies.work)  # the second batch is on the GPU,
        assert [work.name for work in gpu._pending()] == ["kernel"]  # and nobody has waited for what is made of it
        waiting.close()


def test_nothing_waits_for_a_whole_stream_while_batches_flow(gpu):
    """Else the stream would run dry between two batches."""
    with opened(gpu) as backend:
        drained(backend.infer_each(batches_of(6)))  # memory and graphs are there then
        gpu.calls.clear()
        drained(backend.infer_each(batches_of(6)))
    begun = gpu.names("cudaStreamSynchronize", "cudaMemcpyAsync")
    begun = begun[: -begun[::-1].index("cudaMemcpyAsync")]
    assert begun[2:].count("cudaStreamSynchronize") == 0


@ANY_SCHEDULE
def test_batches_that_are_not_taken_leave_nothing_behind(gpu, schedule):
    gpu.eager = SCHEDULES[schedule]
    with opened(gpu) as backend:
        for taken in range(5):
            waiting = backend.infer_each(batches_of(5))
            for _ in range(taken):
                next(waiting)
            waiting.close()
            batch = batch_of(1, 12, 15, seed=99 + taken)
            assert np.array_equal(backend.infer(batch), nearest(batch))


@ANY_SCHEDULE
def test_a_generator_that_is_left_alone_gives_no_wrong_pixels_later(gpu, schedule):
    gpu.eager = SCHEDULES[schedule]
    with opened(gpu) as backend:
        for taken, batch in itertools.product((1, 2, 3), (batch_of(2, 60, 60), batch_of(1, 12, 15, seed=9))):
            waiting = backend.infer_each(batches_of(5))
            for _ in range(taken):
                next(waiting)
            assert np.array_equal(backend.infer(batch), nearest(batch))
            with pytest.raises(UsageError, match="used anew"):
                next(waiting)
            assert np.array_equal(backend.infer(batch), nearest(batch))


def test_an_error_of_the_callers_own_leaves_nothing_queued(gpu):
    def batches():
        yield from batches_of(3)
        raise ZeroDivisionError

    with opened(gpu) as backend:
        with pytest.raises(ZeroDivisionError):
            drained(backend.infer_each(batches()))
        assert not gpu._pending()
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))


# --- other GPUs, other threads ---


def test_the_second_gpu_is_current_wherever_it_is_used():
    """Though the caller makes another one current between two results, or is another thread."""
    gpu = Gpu(count=2)
    with doubles.checked(gpu):
        with opened(gpu, index=1) as backend:
            assert backend.device == "cuda:1"
            assert {queue.device for queue in gpu.streams.values()} == {1}
            batches = batches_of(5)
            waiting = backend.infer_each(batches)
            found = [next(waiting)]
            gpu.cudaSetDevice(0)
            found.append(next(waiting))
            gpu.cudaSetDevice(0)
            thread = threading.Thread(target=lambda: found.extend(waiting))
            thread.start()
            thread.join()
            gpu.cudaSetDevice(0)
            assert all(np.array_equal(one, nearest(batch)) for one, batch in zip(found, batches, strict=True))
            waiting = backend.infer_each(batches_of(2))
            for _ in range(2):
                gpu.calls.clear()
                next(waiting)
                assert gpu.calls[0] == ("cudaSetDevice", 1) or ("cudaSetDevice", 1) in gpu.calls[2:4]
            gpu.calls.clear()
        assert ("cudaSetDevice", 1) in gpu.calls


@ANY_SCHEDULE
def test_two_engines_share_one_gpu_in_turns(gpu, schedule):
    gpu.eager = SCHEDULES[schedule]
    batches = batches_of(5)
    with opened(gpu) as one, opened(gpu, rtx=True) as other:
        for first, second, batch in zip(one.infer_each(batches), other.infer_each(batches), batches, strict=True):
            assert np.array_equal(first, nearest(batch))
            assert np.array_equal(second, nearest(batch))
