"""A loaded model that is called with arrays: what gpsr_deploy.load returns."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import numpy as np

from gpsr_deploy.backends import Backend
from gpsr_deploy.errors import UsageError
from gpsr_deploy.upscaling.upscale import Image, Order, Progress, Tiling, upscale


class Upscaler:
    """A loaded model that is called with pictures: what gpsr_deploy.load returns. Close it, or use it in a `with`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def backend(self) -> Backend:
        """What runs the network."""
        return self._backend

    def __call__(
        self,
        lr: object,
        *,
        order: Order = "rgb",
        tiling: Tiling | None = None,
        on_progress: Progress | None = None,
    ) -> Image:
        """`lr` enlarged: uint8, uint16 or float32 in [0, 1], (H, W, 3) or (H, W), numpy or anything with DLPack.

        `order` is that of the channels, in and out: "bgr" as OpenCV delivers them. Same dtype back; the result owns its memory.
        Raises UsageError for other arrays, OutOfMemory, NonFinite or ModelRefused.
        """
        if order not in ("rgb", "bgr"):
            raise UsageError(f"order {order!r}", expected="rgb or bgr")
        array = lr if isinstance(lr, np.ndarray) else _from_dlpack(lr)
        return upscale(self._backend, array, order=order, tiling=tiling, on_progress=on_progress).sr

    def close(self) -> None:
        """Frees the backend."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _from_dlpack(array: Any) -> Image:
    """A view of another library's array. Raises UsageError where it is none, or not one that numpy can see."""
    try:
        return np.from_dlpack(array)
    except (AttributeError, BufferError, RuntimeError, TypeError) as error:
        found = f"an object of type {type(array).__name__} ({error})"
        raise UsageError(found, expected="a numpy array, or one with DLPack in the CPU's memory") from error
