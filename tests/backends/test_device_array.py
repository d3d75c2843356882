"""Arrays on the GPU: what they say of themselves, and which of other libraries' arrays are taken."""

import gc
import sys
import weakref
from types import SimpleNamespace

import doubles
import numpy as np
import pytest
import torch
from cuda.core.utils import StridedMemoryView
from doubles import Gpu

from gpsr_deploy.backends import device_array
from gpsr_deploy.backends.cuda import Cuda
from gpsr_deploy.backends.device_array import DeviceArray, view
from gpsr_deploy.errors import BackendUnavailable, OutOfMemory, UsageError

SHAPE = (1, 3, 6, 9)


@pytest.fixture
def gpu():
    """A GPU on which nothing forbidden happens and nothing is left."""
    made = Gpu(count=2)
    with doubles.checked(made):
        yield made


@pytest.fixture
def array(gpu):
    with DeviceArray(Cuda(gpu, 1), SHAPE) as made:
        yield made


# --- ours, for others ---


def test_an_array_says_where_it_lies(gpu, array):
    assert array.__cuda_array_interface__ == {
        "shape": SHAPE, "typestr": "<f4", "data": (array.address, False), "strides": None, "stream": None, "version": 3,
    }  # fmt: skip
    assert array.__dlpack_device__() == (2, 1)
    assert gpu.memory[array.address].content.size == 4 * np.prod(SHAPE)


def test_a_capsule_is_made_without_a_wait_and_keeps_the_array(array, monkeypatch):
    """cuda-core, which would ask the driver about the address, is told what it asks: the rest is its own work."""
    seen = []

    class MemoryView:
        @classmethod
        def from_cuda_array_interface(cls, found, stream_ptr):
            seen.append((found, stream_ptr))
            return SimpleNamespace(__dlpack__=lambda **options: (found, options))

    monkeypatch.setattr(device_array, "_memory_view", lambda: MemoryView)
    kept, options = array.__dlpack__(stream=5, max_version=(1, 0))
    assert kept is array
    assert options == {"stream": 5, "max_version": (1, 0)}
    assert seen == [(array, -1)]


def test_what_makes_the_capsule_keeps_what_it_is_made_of():
    """On the CPU, where cuda-core needs no driver for it."""

    class Array(np.ndarray):
        pass

    found = np.arange(24, dtype=np.float32).reshape(2, 3, 4).view(Array)
    alive = weakref.ref(found)
    capsule = StridedMemoryView.from_dlpack(found, stream_ptr=-1).__dlpack__(stream=None, max_version=(1, 0))
    del found
    gc.collect()
    assert alive() is not None
    tensor = torch.utils.dlpack.from_dlpack(capsule)
    del capsule
    gc.collect()
    assert alive() is not None
    del tensor
    gc.collect()
    assert alive() is None


def test_memory_goes_with_the_array_and_once(gpu):
    cuda = Cuda(gpu)
    first, second = DeviceArray(cuda, SHAPE), DeviceArray(cuda, SHAPE)
    first.close()
    assert len(gpu.memory) == 1
    first.close()
    del first, second
    gc.collect()
    assert gpu.memory == {}
    assert gpu.freed["cudaFree"] == 2
    with DeviceArray(cuda, SHAPE):
        assert len(gpu.memory) == 1
    assert gpu.memory == {}


@pytest.mark.filterwarnings("error")  # what fails in a __del__ is no more than a warning
def test_an_array_that_was_never_made_is_not_freed(gpu):
    gpu.total = 100
    with pytest.raises(OutOfMemory):
        DeviceArray(Cuda(gpu), SHAPE)
    gc.collect()
    assert not gpu.freed


# --- others', for us ---


@pytest.mark.parametrize(
    ("shape", "strides", "taken"),
    [
        ((1, 3, 6, 9), None, True),
        ((2, 3, 6, 9), (162, 54, 9, 1), True),
        ((1, 3, 6, 9), (54, 54, 9, 1), True),  # torch, after a transpose of the axis of one
        ((1, 3, 6, 9), (1, 54, 9, 1), True),  # older torch, through DLPack
        ((1, 1, 1, 1), (7, 7, 7, 7), True),
        ((1, 3, 1, 9), (27, 9, 5, 1), True),
        ((2, 3, 6, 9), (162, 1, 27, 3), False),  # channels last
        ((2, 3, 6, 9), (324, 54, 9, 1), False),
        ((2, 3, 6, 9), (0, 54, 9, 1), False),  # broadcast
        ((1, 3, 6, 9), (162, 54, 9, 2), False),
        ((1, 3, 6, 9), (162, 54, -9, 1), False),
    ],
    ids=str,
)
def test_an_array_without_gaps_is_taken_whatever_an_axis_of_one_says(monkeypatch, shape, strides, taken):
    found = told(shape=shape, strides=strides)
    monkeypatch.setattr(device_array, "_memory_view", lambda: found)
    if taken:
        seen = view(object(), stream=77, device_id=0)
        assert (seen.address, seen.shape, seen.owner) == (4096, shape, found)
        assert found.streams == [77]
    else:
        with pytest.raises(UsageError, match=r"error\[2\].*with gaps"):
            view(object(), stream=77, device_id=0)


def told(**changes):
    """A view as cuda-core gives it, that is its own class."""
    found = SimpleNamespace(
        ptr=4096, shape=SHAPE, strides=None, dtype=np.dtype(np.float32), device_id=0, is_device_accessible=True
    )
    vars(found).update(changes)
    found.streams = []
    found.from_any_interface = lambda array, stream_ptr: found.streams.append(stream_ptr) or found
    return found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dtype": np.dtype(np.float16)}, "float16"),
        ({"dtype": np.dtype(np.uint8)}, "uint8"),
        ({"dtype": np.dtype(">f4")}, ">f4"),
        ({"dtype": None}, "None"),
        ({"device_id": 1}, "device 1"),
        ({"is_device_accessible": False, "device_id": -1}, "device -1"),
        ({"is_device_accessible": False}, "device 0"),
    ],
    ids=str,
)
def test_other_arrays_are_refused_with_what_they_are(monkeypatch, changes, says):
    monkeypatch.setattr(device_array, "_memory_view", lambda: told(**changes))
    with pytest.raises(UsageError, match=rf"error\[2\].*{says}.*contiguous float32 on GPU 0"):
        view(object(), stream=77, device_id=0)


OTHERS = {
    "numpy": np.zeros(SHAPE, np.float32),
    "torch": torch.zeros(SHAPE),
    "bfloat16": torch.zeros(SHAPE, dtype=torch.bfloat16),
    "with a gradient": torch.zeros(SHAPE, requires_grad=True),
    "sparse": torch.zeros(3, 3).to_sparse(),
    "meta": torch.zeros(SHAPE, device="meta"),
    "a class": torch.Tensor,
    "None": None,
    "a list": [[1.0]],
    "a name": "picture.png",
    "version 2": SimpleNamespace(
        __cuda_array_interface__={"version": 2, "shape": SHAPE, "typestr": "<f4", "data": (1, False)}
    ),
    "a mask": SimpleNamespace(__cuda_array_interface__={"version": 3, "mask": 1, "shape": SHAPE, "data": (1, False)}),
}


@pytest.mark.parametrize("array", OTHERS.values(), ids=OTHERS)
def test_what_is_no_array_on_a_gpu_is_refused_by_the_real_cuda_core(array):
    with pytest.raises(UsageError, match=r"error\[2\].*(array on the GPU|array on GPU 0)") as caught:
        view(array, stream=77, device_id=0)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("array", [np.zeros(SHAPE, np.float32), torch.zeros(SHAPE)], ids=["numpy", "torch"])
def test_an_array_on_the_cpu_is_called_one(array):
    with pytest.raises(UsageError, match="in the CPU's memory"):
        view(array, stream=77, device_id=0)


@pytest.mark.parametrize(
    "error", [AssertionError, BufferError, NotImplementedError, RuntimeError, TypeError, ValueError]
)
@pytest.mark.parametrize("late", [False, True])
def test_however_a_library_refuses_it_is_the_callers_error(monkeypatch, error, late):
    """cuda-core finds out about some types only where they are asked for."""

    class MemoryView:
        @classmethod
        def from_any_interface(cls, array, stream_ptr):
            if late:
                return cls()
            raise error("not this one")

        @property
        def dtype(self):
            raise error("not this one")

    monkeypatch.setattr(device_array, "_memory_view", lambda: MemoryView)
    with pytest.raises(UsageError, match="not this one"):
        view(object(), stream=77, device_id=0)


def test_cuda_core_that_is_not_installed_is_named(array, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.core.utils", None)
    for use in (array.__dlpack__, lambda: view(array, stream=77, device_id=0)):
        with pytest.raises(BackendUnavailable, match=r"error\[5\].*pip install cuda-core"):
            use()
