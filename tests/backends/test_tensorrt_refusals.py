"""Engines that are not what they should be, and calls of TensorRT and CUDA that fail: errors, and no pixels."""

import doubles
import numpy as np
import pytest
from double_engines import ANY_SCHEDULE, FLAVOURS, PLAN, batch_of, batches_of, drained, opened
from doubles import SCHEDULES, DataType, Gpu, Plan, TensorFormat, TensorIOMode, TensorRt, nearest, real

from gpsr_deploy.errors import GpsrError, ModelRefused, OutOfMemory

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


def test_every_error_of_this_file_is_one_line(gpu):
    with pytest.raises(GpsrError) as caught:
        opened(gpu, refuses={"deserialize_cuda_engine"})
    assert str(caught.value).isprintable()


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
            drained(waiting)
        with pytest.raises(ModelRefused, match="cudaErrorIllegalAddress"):
            backend.infer(batch_of(1, 6, 6))
    assert (gpu.memory, gpu.streams, gpu.points) == ({}, {}, {})
