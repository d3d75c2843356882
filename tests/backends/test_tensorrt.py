"""Engines on doubles of a GPU: both flavours, whichever stream is ahead; what comes out, in what order, and what is left."""

import dataclasses
import gc
import itertools
import threading

import doubles
import numpy as np
import plans
import pytest
from doubles import SCHEDULES, DataType, Gpu, Plan, TensorFormat, TensorIOMode, TensorRt, Work, nearest, real

from gpsr_deploy.backends import UNMEASURED_HALO, Pipelined, device_array, flavours, open_backend, tensorrt
from gpsr_deploy.backends.cuda import Cuda
from gpsr_deploy.backends.tensorrt import TensorRtBackend
from gpsr_deploy.backends.trt_session import SCARCE
from gpsr_deploy.errors import BackendUnavailable, GpsrError, InputUnreadable, ModelRefused, OutOfMemory, UsageError
from gpsr_deploy.model_files import cache as cache_file
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.spec import Profile
from gpsr_deploy.upscaling.ensemble import SelfEnsemble
from gpsr_deploy.upscaling.upscale import Tiling, upscale
from gpsr_deploy.upscaling.upscaler import Upscaler

PLAN = Plan()
PROFILE = Profile(min=(6, 6), opt=(12, 15), max=(60, 60), batch=2)
"""What PLAN says of itself."""

FLAVOURS = pytest.mark.parametrize("rtx", [False, True], ids=["tensorrt", "rtx"])
ANY_SCHEDULE = pytest.mark.parametrize("schedule", SCHEDULES)


def spec_of(plan=PLAN, *, rtx=False, **changes):
    spec = plans.spec_of(plan.content, profile=PROFILE, runtime="tensorrt-rtx" if rtx else "tensorrt")
    return dataclasses.replace(spec, sr=dataclasses.replace(spec.sr, halo=3), **changes)


def opened(gpu, *, rtx=False, plan=PLAN, refuses=(), cache=None, index=0, trt=None, engine="ours"):
    """A backend on the double; `engine` None: without a sidecar."""
    return TensorRtBackend(
        plan.content,
        spec_of(plan, rtx=rtx) if engine == "ours" else engine,
        runtime="tensorrt-rtx" if rtx else "tensorrt",
        trt=trt or TensorRt(gpu, rtx=rtx, plan=plan, refuses=refuses),
        cuda=Cuda(gpu, index),
        cache=cache,
    )


@pytest.fixture
def gpu():
    """A GPU on which nothing forbidden happens and nothing is left."""
    made = Gpu()
    with doubles.checked(made):
        yield made


def batch_of(number, height, width, *, seed=0):
    random = np.random.default_rng((seed, number, height, width))
    return random.random((number, 3, height, width), np.float32)


def batches_of(count, *, size=(1, 12, 15)):
    return [batch_of(*size, seed=seed) for seed in range(count)]


SIZES = pytest.mark.parametrize("size", [(1, 6, 6), (2, 6, 60), (1, 60, 6), (5, 12, 9), (4, 9, 9)], ids=str)


# --- the contract of all backends ---


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


# --- the order of things ---


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
        doubles.drained(backend.infer_each(batches_of(6)))  # memory and graphs are there then
        gpu.calls.clear()
        doubles.drained(backend.infer_each(batches_of(6)))
    begun = gpu.names("cudaStreamSynchronize", "cudaMemcpyAsync")
    begun = begun[: -begun[::-1].index("cudaMemcpyAsync")]
    assert begun[2:].count("cudaStreamSynchronize") == 0


def test_memory_is_taken_once_for_all_batches(gpu):
    with opened(gpu) as backend:
        doubles.drained(backend.infer_each(batches_of(2, size=(2, 12, 15))))
        before = gpu.allocations
        doubles.drained(backend.infer_each(batches_of(9, size=(2, 12, 15))))
        doubles.drained(backend.infer_each(batches_of(9, size=(1, 6, 6))))
        assert gpu.allocations == before


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
            doubles.drained(backend.infer_each(batches()))
        assert not gpu._pending()
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))


# --- graphs ---


def runs(gpu):
    """How often the network was enqueued itself, and as a graph."""
    return len(gpu.names("execute_async_v3")), len(gpu.names("cudaGraphLaunch"))


def test_a_size_is_captured_at_its_second_run_and_launched_from_then_on(gpu):
    with opened(gpu) as backend:
        for launched in range(4):
            backend.infer(batch_of(1, 12, 15, seed=launched))
            assert runs(gpu) == (min(launched + 1, 2), launched)
            assert len(gpu.launchable) == (launched > 0)


def test_a_graph_is_dropped_where_its_size_or_memory_changes(gpu):
    with opened(gpu) as backend:
        for _ in range(3):
            backend.infer(batch_of(1, 12, 15))
        assert runs(gpu) == (2, 2)
        backend.infer(batch_of(1, 6, 6))
        assert runs(gpu) == (3, 2)
        assert not gpu.launchable
        backend.infer(batch_of(1, 12, 15))
        assert runs(gpu) == (4, 2)
        for seed in range(3):  # in the other lane too, where more scratch memory takes that of this one away
            batches = [batch_of(1, 12, 15, seed=seed), batch_of(2, 60, 60, seed=seed)]
            for found, batch in zip(backend.infer_each(batches), batches, strict=True):
                assert np.array_equal(found, nearest(batch))


def test_rtx_captures_by_itself(gpu):
    trt = TensorRt(gpu, rtx=True, plan=PLAN)
    with opened(gpu, rtx=True, trt=trt) as backend:
        for _ in range(4):
            backend.infer(batch_of(1, 12, 15))
        assert runs(gpu) == (4, 0)
        assert not gpu.names("cudaStreamBeginCapture")
        settings = [one.settings for one in gpu.objects if isinstance(one, doubles.ExecutionContext)]
        assert len(settings) == 3  # two for batches, one for arrays on the GPU: each may cost seconds of compilation
        assert len(set(settings)) == 1
        settings = settings.pop()
        assert settings.cuda_graph_strategy is trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        assert settings.strategy is trt.ExecutionContextAllocationStrategy.USER_MANAGED


@pytest.mark.parametrize(
    "change",
    [
        {"refuses": {"capture"}},
        {"cudaStreamEndCapture": real.cudaError_t.cudaErrorStreamCaptureInvalidated},
        {"cudaGraphInstantiate": real.cudaError_t.cudaErrorInvalidValue},
        {"cudaStreamBeginCapture": real.cudaError_t.cudaErrorIllegalState},
        {"cudaGraphLaunch": real.cudaError_t.cudaErrorInvalidValue},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_capture_that_fails_is_refused_and_leaves_no_stream_in_it(gpu, change):
    trt = TensorRt(gpu, rtx=False, plan=PLAN)
    with opened(gpu, trt=trt) as backend:
        backend.infer(batch_of(1, 12, 15))
        trt.refuses = change.pop("refuses", set())
        gpu.answers = change
        for _ in range(2):
            with pytest.raises(ModelRefused, match=r"error\[5\]"):
                backend.infer(batch_of(1, 12, 15))
        assert not gpu.graphs
        assert all(queue.capture is None for queue in gpu.streams.values())
        trt.refuses, gpu.answers = set(), {}
        assert np.array_equal(backend.infer(batch_of(1, 12, 15)), nearest(batch_of(1, 12, 15)))


def test_a_failure_within_a_sound_capture_leaves_no_graph(gpu, monkeypatch):
    with opened(gpu) as backend:
        backend.infer(batch_of(1, 12, 15))
        with monkeypatch.context() as patched:
            patched.setattr(doubles.ExecutionContext, "execute_async_v3", lambda *_: False)
            with pytest.raises(ModelRefused, match="failed to run"):
                backend.infer(batch_of(1, 12, 15))
        assert not gpu.graphs


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
            doubles.drained(backend.infer_each([batch_of(2, 60, 60)] * 2))
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


# --- engines that are not ours, and a library that says no ---


@pytest.mark.parametrize(
    "plan",
    [
        Plan(tensors=(("a", TensorIOMode.INPUT),), dtypes=(DataType.FLOAT,), formats=(TensorFormat.LINEAR,)),
        Plan(
            tensors=(("a", TensorIOMode.INPUT), ("b", TensorIOMode.INPUT), ("c", TensorIOMode.OUTPUT)),
            dtypes=(DataType.FLOAT,) * 3,
            formats=(TensorFormat.LINEAR,) * 3,
        ),
        Plan(dtypes=(DataType.HALF, DataType.FLOAT)),
        Plan(dtypes=(DataType.FLOAT, DataType.UINT8)),
        Plan(formats=(TensorFormat.LINEAR, TensorFormat.HWC)),
        Plan(sizes=((1, 4, 6, 6), (1, 4, 12, 15), (2, 4, 60, 60))),
        Plan(sizes=((3, 6, 6), (3, 12, 15), (3, 60, 60))),
        Plan(result=lambda shape: shape[:3]),
        Plan(result=lambda shape: (shape[0], 1, 4 * shape[2], 4 * shape[3])),
        Plan(result=lambda shape: (shape[0], 3, 4 * shape[2], 4 * shape[3] + 1)),
        Plan(result=lambda shape: (shape[0], 3, 3 * shape[2], 3 * shape[3])),
        Plan(result=lambda shape: (shape[0], 3, shape[2] // 2, shape[3] // 2)),
    ],
    ids=[
        "one tensor",
        "two inputs",
        "half in",
        "bytes out",
        "channels last",
        "RGBA",
        "no batch",
        "flat",
        "grey",
        "a column more",
        "x3",
        "smaller",
    ],  # fmt: skip
)
@FLAVOURS
def test_an_engine_that_is_no_rgb_picture_in_and_out_is_refused(gpu, rtx, plan):
    with pytest.raises(ModelRefused, match=r"error\[5\]") as caught:
        opened(gpu, rtx=rtx, plan=plan, engine=None)
    assert caught.value.expected


@pytest.mark.parametrize(
    "plan",
    [Plan(scale=8), Plan(sizes=((1, 3, 6, 6), (1, 3, 12, 15), (4, 3, 60, 60)))],
    ids=["another scale", "another batch"],
)
def test_an_engine_that_is_not_what_its_sidecar_says_is_refused(gpu, plan):
    with pytest.raises(ModelRefused, match="sidecar says"):
        opened(gpu, plan=plan)


def test_a_result_that_does_not_fit_is_refused_before_it_is_written(gpu):
    """At another size than that which was asked at the beginning."""
    plan = Plan(result=lambda shape: (shape[0], 3, 4 * shape[2] + (shape[3] > 15), 4 * shape[3]))
    with opened(gpu, plan=plan) as backend:
        backend.infer(batch_of(1, 12, 15))
        for _ in range(2):
            with pytest.raises(ModelRefused, match="4 times as large"):
                backend.infer(batch_of(1, 12, 18))


@pytest.mark.parametrize(
    "refused",
    [
        "Runtime",
        "deserialize_cuda_engine",
        "create_execution_context",
        "set_input_shape",
        "infer_shapes",
        "infer_shapes raises",
    ],
)
@FLAVOURS
def test_a_library_that_does_not_open_the_engine_is_quoted(gpu, rtx, refused):
    with pytest.raises(ModelRefused, match=r"error\[5\].*Expected an engine that was built for this machine") as caught:
        opened(gpu, rtx=rtx, refuses={refused})
    if refused in ("deserialize_cuda_engine", "create_execution_context", "set_input_shape"):
        assert "this is no plan of mine" in str(caught.value) or "context" in str(caught.value) or "profile" in str(caught.value)  # fmt: skip
    assert "by the way" not in str(caught.value)


@pytest.mark.parametrize("refused", ["create_runtime_config", "create_runtime_cache", "set_runtime_cache"])
def test_rtx_that_cannot_be_configured_is_refused(gpu, refused):
    with pytest.raises(ModelRefused, match="config|cache"):
        opened(gpu, rtx=True, refuses={refused})


@pytest.mark.parametrize(
    "refused", ["set_input_shape", "infer_shapes", "infer_shapes raises", "set_tensor_address", "execute_async_v3"]
)
@FLAVOURS
@ANY_SCHEDULE
def test_a_library_that_does_not_run_the_engine_is_refused_and_may_recover(gpu, rtx, schedule, refused):
    gpu.eager = SCHEDULES[schedule]
    trt = TensorRt(gpu, rtx=rtx, plan=PLAN)
    with opened(gpu, rtx=rtx, trt=trt) as backend:
        waiting = backend.infer_each([batch_of(1, 6, 6), batch_of(1, 6, 6), batch_of(1, 12, 15), batch_of(1, 6, 6)])
        assert np.array_equal(next(waiting), nearest(batch_of(1, 6, 6)))
        trt.refuses = {refused}
        with pytest.raises(ModelRefused, match=r"error\[5\]"):
            next(waiting)
        assert not gpu._pending()
        with pytest.raises(ModelRefused):
            backend.infer(batch_of(1, 9, 9))
        trt.refuses = set()
        for seed in range(3):
            assert np.array_equal(backend.infer(batch_of(1, 9, 9, seed=seed)), nearest(batch_of(1, 9, 9, seed=seed)))


# --- CUDA that says no ---

BAD = real.cudaError_t.cudaErrorIllegalAddress


@pytest.mark.parametrize(
    "call",
    [
        "cudaMemcpyAsync",
        "cudaEventRecord",
        "cudaStreamWaitEvent",
        "cudaEventSynchronize",
        "cudaEventElapsedTime",
        "cudaSetDevice",
        "cudaStreamSynchronize",
    ],
)
@FLAVOURS
@ANY_SCHEDULE
def test_each_call_may_fail_while_batches_flow(gpu, rtx, schedule, call):
    gpu.eager = SCHEDULES[schedule]
    with opened(gpu, rtx=rtx) as backend:
        waiting = backend.infer_each(batches_of(5))
        next(waiting)
        gpu.answers[call] = BAD
        if call != "cudaStreamSynchronize":  # which only cleans up
            with pytest.raises(ModelRefused, match="cudaErrorIllegalAddress"):
                next(waiting)
        gpu.answers.clear()
        waiting.close()
        assert not gpu._pending()
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))


@pytest.mark.parametrize("call", ["cudaStreamCreateWithFlags", "cudaEventCreateWithFlags"])
@FLAVOURS
def test_each_call_may_fail_at_the_beginning(gpu, rtx, call):
    gpu.answers[call] = BAD
    with pytest.raises(ModelRefused, match="cudaErrorIllegalAddress"):
        opened(gpu, rtx=rtx)


def test_every_event_and_stream_may_be_one_too_many(gpu, monkeypatch):
    """At whichever it is, those before it are freed."""
    for name in ("cudaStreamCreateWithFlags", "cudaEventCreateWithFlags"):
        create = getattr(Gpu, name)
        for most in range(2 if "Stream" in name else 10):
            made = []

            def counted(self, flags, create=create, made=made, most=most):
                made.append(None)
                return (doubles.OUT_OF_MEMORY, None) if len(made) > most else create(self, flags)

            monkeypatch.setattr(Gpu, name, counted)
            with pytest.raises(OutOfMemory):
                opened(gpu)
            monkeypatch.setattr(Gpu, name, create)
            assert gpu.leftovers().keys() <= {"objects of TensorRT"}  # which an error's traceback may hold


@FLAVOURS
@ANY_SCHEDULE
def test_a_kernel_that_crashes_ends_in_an_error_and_not_in_pixels(rtx, schedule):
    """After which CUDA answers everything with that error; closing is still possible, and frees."""
    gpu = Gpu(eager=SCHEDULES[schedule])
    with opened(gpu, rtx=rtx) as backend:
        waiting = backend.infer_each(batches_of(5))
        next(waiting)
        gpu.kernel_status = BAD
        with pytest.raises(ModelRefused, match="cudaErrorIllegalAddress"):
            doubles.drained(waiting)
        with pytest.raises(ModelRefused, match="cudaErrorIllegalAddress"):
            backend.infer(batch_of(1, 6, 6))
    assert (gpu.memory, gpu.streams, gpu.points) == ({}, {}, {})


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


# --- what is measured ---


def test_copies_and_memory_are_measured(gpu):
    with opened(gpu) as backend:
        assert (backend.copy_seconds, backend.peak_bytes) == (0.0, 0)
        backend.infer(batch_of(1, 12, 15))
        assert backend.copy_seconds == 0.002  # by the double's clock, one millisecond for each
        taken = backend.peak_bytes
        assert 4 * 12 * 15 * 3 * (1 + 16) <= taken <= gpu.used
        doubles.drained(backend.infer_each(batches_of(3)))
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


# --- the cache of compiled kernels ---


def test_compiled_kernels_are_kept_and_read_back(gpu, tmp_path):
    path = tmp_path / "x.plan.cache"
    trt = TensorRt(gpu, rtx=True, plan=PLAN)
    with opened(gpu, rtx=True, trt=trt, cache=path) as backend:
        backend.infer(batch_of(1, 6, 6))
        assert not path.exists()
    assert cache_file.read(path) == trt.written == b"kernels:1x3x6x6"
    with opened(gpu, rtx=True, trt=trt, cache=path) as backend:
        backend.infer(batch_of(1, 9, 9))
    assert cache_file.read(path) == b"kernels:1x3x6x6;1x3x9x9"
    before = path.stat().st_mtime_ns
    with opened(gpu, rtx=True, trt=trt, cache=path) as backend:
        backend.infer(batch_of(1, 9, 9))
    assert path.stat().st_mtime_ns == before  # nothing new: nothing written


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "not ours", "of another driver", "a folder"])
def test_a_cache_that_is_no_good_is_made_anew(gpu, tmp_path, damage):
    path = tmp_path / "x.plan.cache"
    cache_file.write(path, b"kernels:1x3x9x9")
    content = path.read_bytes()
    match damage:
        case "flipped":
            path.write_bytes(content[:-1] + b"x")
        case "cut":
            path.write_bytes(content[:-3])
        case "empty":
            path.write_bytes(b"")
        case "not ours":
            path.write_bytes(b"kernels:1x3x9x9")
        case "of another driver":
            cache_file.write(path, b"elsewhere")
        case "a folder":
            path.unlink()
            path.mkdir()
    with opened(gpu, rtx=True, cache=path) as backend:
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))
    assert cache_file.read(path) == (b"" if damage == "a folder" else b"kernels:1x3x6x6")


def test_a_cache_is_no_reason_to_fail(gpu, tmp_path):
    trt = TensorRt(gpu, rtx=True, plan=PLAN)
    backend = opened(gpu, rtx=True, trt=trt, cache=tmp_path / "nowhere" / "x.cache")
    backend.infer(batch_of(1, 6, 6))
    backend.close()
    trt.refuses = {"serialize"}
    opened(gpu, rtx=True, trt=trt, cache=tmp_path / "x.cache").close()
    assert list(tmp_path.iterdir()) == []
    trt.refuses = {"serialize raises"}  # the rest is freed all the same
    with pytest.raises(MemoryError):
        opened(gpu, rtx=True, trt=trt, cache=tmp_path / "x.cache").close()


def test_an_engine_that_is_refused_leaves_no_cache(gpu, tmp_path):
    with pytest.raises(ModelRefused):
        opened(gpu, rtx=True, plan=Plan(dtypes=(DataType.HALF,) * 2), cache=tmp_path / "x.cache")
    assert list(tmp_path.iterdir()) == []


def test_only_rtx_has_a_cache(gpu, tmp_path):
    with opened(gpu, cache=tmp_path / "x.cache") as backend:
        backend.infer(batch_of(1, 6, 6))
    assert list(tmp_path.iterdir()) == []


# --- arrays on the GPU ---


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


# --- above it ---


class Plain:
    """What the engine computes, without a GPU."""

    runtime, device, bytes_per_pixel = "plain", "cpu", 100

    def __init__(self):
        self.spec, self.profile = spec_of().sr, PROFILE

    def infer(self, batch):
        return nearest(batch)

    def close(self):
        pass


@FLAVOURS
@ANY_SCHEDULE
@pytest.mark.parametrize("size", [(6, 6), (40, 33), (61, 130)], ids=str)
def test_pictures_are_those_of_a_plain_backend(gpu, rtx, schedule, size):
    gpu.eager = SCHEDULES[schedule]
    lr = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    with opened(gpu, rtx=rtx) as backend:
        for tiling in (None, Tiling(tile=(30, 30), batch=1), Tiling(tile=(30, 36))):
            assert np.array_equal(upscale(backend, lr, tiling=tiling).sr, upscale(Plain(), lr, tiling=tiling).sr)


def test_the_self_ensemble_runs_over_it(gpu):
    batch = batch_of(2, 9, 12)
    with SelfEnsemble(opened(gpu)) as backend:
        assert np.array_equal(backend.infer(batch), SelfEnsemble(Plain()).infer(batch))
        assert np.array_equal(backend.infer(batch), SelfEnsemble(Plain()).infer(batch))


def test_a_picture_that_fails_half_way_does_not_spoil_the_next(gpu):
    lr = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)

    def stop(done, _):
        if done > 1:
            raise KeyboardInterrupt

    with Upscaler(opened(gpu)) as upscaler:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                upscaler(lr, on_progress=stop)
            assert not gpu._pending()
        assert np.array_equal(upscaler(lr), Upscaler(Plain())(lr))


# --- files ---


@pytest.fixture
def machine(monkeypatch, gpu):
    """A machine with that GPU and both TensorRTs, which load what `content` is set to."""
    monkeypatch.setattr(tensorrt, "bindings", lambda: gpu)
    loaded = []

    def module_of(runtime):
        loaded.append(runtime)
        return TensorRt(gpu, rtx=runtime == "tensorrt-rtx", plan=Plan(content=gpu.content), version=gpu.version)

    monkeypatch.setattr(flavours, "module_of", module_of)
    gpu.loaded, gpu.version = loaded, "1.7.1.116"
    return gpu


def engine_on(machine, folder, **changes):
    machine.content = plans.plan()
    return plans.write(folder, machine.content, profile=PROFILE, **changes)


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
@pytest.mark.parametrize("runtime", [None, "tensorrt-rtx"])
def test_an_engine_is_opened_by_its_suffix(machine, tmp_path, device, runtime):
    path = engine_on(machine, tmp_path)
    with open_backend(path, device=device, runtime=runtime) as backend:
        assert (backend.runtime, backend.device) == ("tensorrt-rtx", "cuda:0")
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))
    assert cache_file.read(tmp_path / "x.plan.cache") == b"kernels:1x3x6x6"


@pytest.mark.parametrize(
    ("asked", "raised", "says"),
    [
        ({"device": "cpu"}, BackendUnavailable, r"error\[5\].*\.onnx"),
        ({"device": "cuda:1"}, BackendUnavailable, r"error\[5\].*cuda:0 to cuda:0"),
        ({"runtime": "tensorrt"}, UsageError, r"error\[2\].*tensorrt-rtx"),
    ],
)
def test_what_cannot_be_is_told_with_the_file(machine, tmp_path, asked, raised, says):
    path = engine_on(machine, tmp_path)
    with pytest.raises(raised, match=says) as caught:
        open_backend(path, **asked)
    assert caught.value.path == path
    assert machine.loaded == []


@pytest.mark.parametrize("status", [35, 100])
def test_without_a_driver_no_tensorrt_is_imported(machine, tmp_path, status):
    """Its runtime would end the process."""
    path = engine_on(machine, tmp_path)
    machine.answers["cudaGetDeviceCount"] = real.cudaError_t(status)
    with pytest.raises(BackendUnavailable, match=r"no CUDA device.*--device cpu"):
        open_backend(path)
    assert machine.loaded == []


def test_without_a_gpu_no_tensorrt_is_imported(machine, tmp_path):
    machine.count = 0
    with pytest.raises(BackendUnavailable, match="no CUDA device"):
        open_backend(engine_on(machine, tmp_path))
    assert machine.loaded == []


@pytest.mark.parametrize(
    ("version", "changes", "says"),
    [
        ("1.7.2.5", {}, "1.7.2.5, which is installed here"),
        ("1.7.1.116", {"gpus": ("8.6", "12.0")}, "8.9, which is this GPU's"),
    ],
)
def test_an_engine_for_another_machine_is_refused_before_it_is_loaded(machine, tmp_path, version, changes, says):
    machine.version = version
    gpus = changes.get("gpus", plans.GPUS)
    machine.content = plans.plan(gpus)
    path = plans.write(tmp_path, machine.content, profile=PROFILE, compute_capabilities=gpus)
    with pytest.raises(ModelRefused, match=says) as caught:
        open_backend(path)
    assert caught.value.path == path
    assert not machine.names("deserialize_cuda_engine")


def test_a_damaged_engine_is_refused_before_cuda_is_asked(machine, tmp_path):
    path = engine_on(machine, tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelRefused, match="SHA-256"):
        open_backend(path)
    assert machine.calls == []
    with pytest.raises(InputUnreadable):
        open_backend(tmp_path / "nowhere.plan")


def test_another_scale_is_refused_before_cuda_is_asked_and_without_a_sidecar_after(machine, tmp_path):
    path = engine_on(machine, tmp_path)
    with pytest.raises(ModelRefused, match="8") as caught:
        open_backend(path, scale=8)
    assert caught.value.path == path
    assert machine.calls == []
    open_backend(path, scale=4).close()
    engine_file.sidecar_path(path).unlink()
    with pytest.raises(ModelRefused, match="8"):
        open_backend(path, scale=8, trust_engine=True)


def test_an_engine_without_a_sidecar_is_opened_for_who_trusts_it(machine, tmp_path):
    path = engine_on(machine, tmp_path)
    engine_file.sidecar_path(path).unlink()
    with pytest.raises(ModelRefused, match="--trust-engine"):
        open_backend(path)
    assert machine.calls == []
    with open_backend(path, trust_engine=True) as backend:
        assert backend.engine is None
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))


def test_trust_does_not_pass_over_a_sidecar(machine, tmp_path):
    path = engine_on(machine, tmp_path)
    engine_file.sidecar_path(path).write_text("{}")
    with pytest.raises(ModelRefused):
        open_backend(path, trust_engine=True)
    assert not machine.names("deserialize_cuda_engine")


def test_an_error_at_the_beginning_names_the_file(machine, tmp_path):
    path = engine_on(machine, tmp_path)
    machine.content = b"another"
    with pytest.raises(ModelRefused, match="no plan of mine") as caught:
        open_backend(path)
    assert caught.value.path == path


# --- the two flavours ---


def test_a_flavour_that_is_not_installed_names_its_extra(monkeypatch):
    for runtime, extra in (("tensorrt", "trt"), ("tensorrt-rtx", "rtx")):
        for error in (ImportError("no module"), OSError("libnvinfer.so.11: no such file")):

            def fail(name, error=error):
                raise error

            monkeypatch.setattr(flavours.importlib, "import_module", fail)
            with pytest.raises(BackendUnavailable, match=rf"error\[5\].*gpsr-deploy\[{extra}\]"):
                flavours.module_of(runtime)


@pytest.mark.parametrize(
    ("version", "taken"), [("10.11.0.33", False), ("8.6.1", False), ("10.12.0.36", True), ("11.4.0.7.post1", True)]
)
def test_a_tensorrt_that_is_too_old_is_refused(monkeypatch, gpu, version, taken):
    monkeypatch.setattr(
        flavours.importlib, "import_module", lambda name: TensorRt(gpu, rtx=False, plan=PLAN, version=version)
    )
    if taken:
        assert flavours.version_of(flavours.module_of("tensorrt")).count(".") == 3
    else:
        with pytest.raises(BackendUnavailable, match="10.12 or later"):
            flavours.module_of("tensorrt")


def test_messages_are_kept_and_not_printed(capfd):
    trt = flavours.module_of("tensorrt-rtx")
    log = flavours.messages(trt)
    assert log.last == "it does not say why"
    log.log(trt.ILogger.WARNING, "careful")
    log.log(trt.ILogger.ERROR, "first")
    log.log(trt.ILogger.INTERNAL_ERROR, "last")
    log.log(trt.ILogger.INFO, "by the way")
    assert (log.errors, log.last) == (["first", "last"], "last")
    assert capfd.readouterr() == ("", "")


def test_every_error_of_this_file_is_one_line(gpu):
    with pytest.raises(GpsrError) as caught:
        opened(gpu, refuses={"deserialize_cuda_engine"})
    assert str(caught.value).isprintable()


# --- the doubles are like the real ones ---


def test_the_double_of_tensorrt_has_nothing_that_the_real_one_has_not():
    trt = flavours.module_of("tensorrt-rtx")
    for name in ("TensorIOMode", "DataType", "TensorFormat", "ExecutionContextAllocationStrategy", "CudaGraphStrategy",
                 "DynamicShapesKernelSpecializationStrategy"):  # fmt: skip
        assert {member.name for member in getattr(doubles, name)} <= set(dir(getattr(trt, name)))
    pairs = {
        doubles.Runtime: trt.Runtime,
        doubles.Engine: trt.ICudaEngine,
        doubles.RuntimeConfig: trt.IRuntimeConfig,
        doubles.RuntimeCache: trt.IRuntimeCache,
        doubles.ExecutionContext: trt.IExecutionContext,
        doubles.ILogger: trt.ILogger,
    }
    for double, real_one in pairs.items():
        public = {name for name in vars(double) if not name.startswith("_") and name != "MAGIC"}
        assert public <= set(dir(real_one)), double
    assert {"cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy"} <= set(dir(trt.IRuntimeConfig))
    assert [type(size) for size in trt.Dims([1, 3, 6, 6])] == [int] * 4
