"""Graphs of CUDA: when an engine's work is captured, launched and dropped, and captures that fail."""

import doubles
import numpy as np
import pytest
from double_engines import PLAN, batch_of, opened
from doubles import TensorRt, nearest, real

from gpsr_deploy.errors import ModelRefused


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
