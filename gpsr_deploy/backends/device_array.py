"""Arrays in GPU memory, in and out, without a copy through the host: for torch, CuPy, numba, pycuda."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from gpsr_deploy.backends.cuda import Cuda, DeviceMemory
from gpsr_deploy.errors import BackendUnavailable, UsageError

CPU = 1
"""DLPack's kDLCPU."""

REFUSALS = (AssertionError, BufferError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""With which libraries refuse to hand out an array: torch asserts, cuda-core knows no such type, and so on."""


class DeviceArray:
    """float32 (N, 3, H, W), contiguous, in memory of its own on one GPU.

    Taken over without a copy by `torch.from_dlpack(array)`, `torch.as_tensor(array)`, `cupy.asarray(array)`; whoever holds
    such a view holds this array.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, int, int, int]) -> None:
        """Raises OutOfMemory."""
        self.shape = shape
        self.device_id = cuda.index
        self._memory = DeviceMemory(cuda, 4 * int(np.prod(shape)))

    @property
    def address(self) -> int:
        """Where it begins on the GPU."""
        return self._memory.address

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        """Version 3. Nothing needs to be waited for."""
        return {
            "shape": self.shape,
            "typestr": "<f4",
            "data": (self.address, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        """(kDLCUDA, index of the GPU)."""
        return 2, self.device_id

    def __dlpack__(self, **options: Any) -> object:
        """A capsule that keeps this array alive. Raises BackendUnavailable without cuda-core."""
        return _memory_view().from_cuda_array_interface(self, stream_ptr=-1).__dlpack__(**options)

    def close(self) -> None:
        """Frees the memory; views of it are invalid then."""
        self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        memory = getattr(self, "_memory", None)
        if memory is not None:
            memory.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Somebody's float32 array on a GPU."""

    address: int
    shape: tuple[int, ...]
    owner: object
    """What has to live as long as the view is used."""


def view(array: object, *, stream: int, device_id: int) -> View:
    """`array`, seen without a copy, once what its owner queued is done before `stream`.

    Raises UsageError for what is no contiguous float32 array on GPU `device_id`, BackendUnavailable without cuda-core.
    """
    memory_view = _memory_view()
    kind = type(array).__name__
    try:
        if hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] == CPU:
            raise UsageError(f"an object of type {kind} in the CPU's memory", expected=f"an array on GPU {device_id}")
        found = memory_view.from_any_interface(array, stream_ptr=stream)
        dtype, shape, strides = found.dtype, tuple(found.shape), found.strides
    except REFUSALS as error:
        raise UsageError(
            f"an object of type {kind} ({error})", expected="an array on the GPU, with DLPack or CUDA's interface"
        ) from error
    contiguous = strides is None or _packed(shape, strides)
    if not found.is_device_accessible or found.device_id != device_id or dtype != np.float32 or not contiguous:
        raise UsageError(
            f"an array of {dtype} on device {found.device_id}{'' if contiguous else ', with gaps'}",
            expected=f"contiguous float32 on GPU {device_id}",
        )
    return View(address=int(found.ptr), shape=shape, owner=found)


def _packed(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether an array of these strides, in elements, has no gaps. Along an axis of one element a stride means nothing."""
    step = 1
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != step:
            return False
        step *= length
    return True


def _memory_view() -> Any:
    try:
        from cuda.core.utils import StridedMemoryView
    except ImportError as error:
        raise BackendUnavailable(
            "cuda-core is not installed", expected="it for arrays on the GPU", remedy="pip install cuda-core"
        ) from error
    return StridedMemoryView
