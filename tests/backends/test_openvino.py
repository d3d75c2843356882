"""OpenVINO: compiled for the shapes that come, in the precision that is asked for, for one thread at a time."""

import threading

import numpy as np
import pytest

from gpsr_deploy import models
from gpsr_deploy.backends import openvino as module
from gpsr_deploy.backends.openvino import OpenVinoBackend
from gpsr_deploy.errors import BackendUnavailable, UsageError
from gpsr_deploy.model_files import onnx as onnx_file


@pytest.fixture(scope="module")
def model():
    return onnx_file.read(models.shipped(4))


@pytest.fixture
def backend(model):
    with OpenVinoBackend(model, threads=1) as opened:
        yield opened


def batch_of(photo, height, width, number=1):
    lr = np.stack([photo[7 * n : 7 * n + height, :width] for n in range(number)])
    return np.ascontiguousarray(lr.transpose(0, 3, 1, 2), dtype=np.float32) / 255


def compiled_for(backend):
    return list(backend._requests)


def test_a_shape_gives_the_same_pixels_whatever_ran_before(backend, photo):
    small, large = batch_of(photo, 48, 60), batch_of(photo, 150, 150)
    first = backend.infer(small), backend.infer(large)
    again = backend.infer(large), backend.infer(small), backend.infer(small)
    np.testing.assert_array_equal(first[1], again[0])
    for found in again[1:]:  # the first time in the model for all shapes, then in one for this
        assert np.abs(found - first[0]).max() <= 1e-5


def test_a_small_shape_is_compiled_when_it_comes_again_and_a_large_one_at_once(backend, photo):
    small, large = batch_of(photo, 48, 60), batch_of(photo, 150, 150)
    backend.infer(small)
    assert compiled_for(backend) == [None]
    backend.infer(small)
    assert compiled_for(backend) == [None, small.shape]
    backend.infer(large)
    assert compiled_for(backend)[-1] == large.shape


def test_what_was_compiled_stays_within_its_memory(backend, photo, monkeypatch):
    shapes = [(129, 129), (132, 129), (135, 129)]
    monkeypatch.setattr(module, "KEPT_BYTES", int(2.5 * backend.bytes_per_pixel * 132 * 129))
    for height, width in shapes:
        backend.infer(batch_of(photo, height, width))
    assert compiled_for(backend) == [(1, 3, height, width) for height, width in shapes[1:]]


def test_batches_in_a_row_give_what_each_gives_alone(backend, photo):
    batches = [batch_of(photo, 48, 60, number) for number in (2, 2, 1, 2)]
    alone = [backend.infer(batch) for batch in batches]
    for found, wanted in zip(backend.infer_each(batches), alone, strict=True):
        assert np.abs(found - wanted).max() <= 1e-5


def test_a_batch_is_made_while_its_predecessor_runs(backend, photo):
    batch, order = batch_of(photo, 48, 60), []

    def batches():
        for number in range(3):
            order.append(f"made {number}")
            yield batch

    for number, _ in enumerate(backend.infer_each(batches())):
        order.append(f"given {number}")
    assert order == ["made 0", "made 1", "given 0", "made 2", "given 1", "given 2"]


def test_what_is_left_half_way_leaves_the_backend_ready(backend, photo):
    batch = batch_of(photo, 48, 60)
    wanted = backend.infer(batch)
    backend.infer(batch)
    running = backend.infer_each([batch] * 3)
    next(running)
    running.close()
    assert np.abs(backend.infer(batch) - wanted).max() <= 1e-5


def test_a_call_from_within_a_run_is_refused_and_does_not_wait_for_ever(backend, photo):
    batch = batch_of(photo, 48, 60)
    running = backend.infer_each([batch] * 3)
    next(running)
    with pytest.raises(UsageError, match="at work"):
        backend.infer(batch)
    assert len(list(running)) == 2
    backend.infer(batch)


def test_several_threads_take_turns(backend, photo):
    batches = [batch_of(photo, 48, 60 + 3 * n) for n in range(4)]
    wanted = [backend.infer(batch) for batch in batches]
    worst = []

    def run(number):
        for turn in range(6):
            index = (number + turn) % 4
            worst.append(np.abs(backend.infer(batches[index]) - wanted[index]).max())

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(worst) == 24 and max(worst) <= 1e-5


def test_bf16_is_near_and_is_not_fp32(model, photo):
    if not module.computes_in_bf16():
        pytest.skip("this processor has no bfloat16 arithmetic")
    batch = batch_of(photo, 96, 120)
    with OpenVinoBackend(model, threads=1) as exact, OpenVinoBackend(model, threads=1, precision="bf16") as rounded:
        assert (exact.precision, rounded.precision) == ("fp32", "bf16")
        assert rounded.bytes_per_pixel < 0.7 * exact.bytes_per_pixel
        apart = np.abs(exact.infer(batch) - rounded.infer(batch))
    assert 1e-4 < apart.max() < 0.03


def test_bf16_is_refused_where_the_processor_has_none(model, monkeypatch):
    monkeypatch.setattr(module, "computes_in_bf16", lambda: False)
    with pytest.raises(BackendUnavailable, match="no bfloat16"):
        OpenVinoBackend(model, precision="bf16")
