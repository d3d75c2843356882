"""A picture's rows from the top, of which only those in work are held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpsr_deploy.media.images.picture import Samples


class RowReader:
    """Rows [start, stop) of a picture that comes in strips, from the top, once."""

    def __init__(self, strips: Iterator[Samples], *, height: int) -> None:
        """`strips` are rows from the top, (n, W, 3) or (n, W), `height` in all."""
        self._strips = strips
        self._height = height
        self._top = 0
        self._held: Samples | None = None

    def rows(self, start: int, stop: int) -> Samples:
        """Rows [start, stop), as far as the picture goes. `start` must never be smaller than in an earlier call."""
        stop = min(stop, self._height)
        held = next(self._strips) if self._held is None else self._held
        if start > self._top:  # what lies above will not be asked for again
            while start - self._top > held.shape[0]:
                self._top += held.shape[0]
                held = next(self._strips)
            held, self._top = held[start - self._top :], start
        missing = stop - self._top - held.shape[0]
        if missing > 0:
            parts: list[Any] = [held]
            while missing > 0:
                parts.append(next(self._strips))
                missing -= parts[-1].shape[0]
            held = np.concatenate(parts)
        self._held = held
        return held[start - self._top : stop - self._top]
