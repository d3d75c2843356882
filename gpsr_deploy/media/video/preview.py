"""A frame beside its bicubic enlargement. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def side_by_side(lr: NDArray[np.uint16], sr: NDArray[np.uint16], *, scale: int) -> NDArray[np.uint8]:
    """(H, 2 W, 3): on the left `lr` enlarged by bicubic interpolation, on the right `sr`, both of 16 bits, rounded to 8."""
    both = np.concatenate([bicubic(lr, scale=scale), sr.astype(np.float32)], axis=1)
    return np.rint(both.clip(0, 65535) / 257).astype(np.uint8)


def bicubic(lr: NDArray[np.uint16], *, scale: int) -> NDArray[np.float32]:
    """`lr` enlarged by the cubic convolution of Keys with a = -1/2; beyond the edge its last pixel is repeated."""
    return _axis(_axis(lr.astype(np.float32), 0, scale), 1, scale)


def _axis(values: NDArray[np.float32], axis: int, scale: int) -> NDArray[np.float32]:
    values = np.moveaxis(values, axis, 0)
    length = len(values)
    padded = np.concatenate([values[:1]] * 3 + [values] + [values[-1:]] * 3)
    result = np.empty((length * scale, *values.shape[1:]), np.float32)
    for phase in range(scale):
        place = (phase + 0.5) / scale - 0.5  # of the new pixel, from the old one's centre
        first = int(np.floor(place)) - 1
        taps = [_keys(abs(place - (first + tap))) for tap in range(4)]
        result[phase::scale] = sum(
            np.float32(weight) * padded[3 + first + tap : 3 + first + tap + length] for tap, weight in enumerate(taps)
        )
    return np.moveaxis(result, 0, axis)


def _keys(distance: float) -> float:
    if distance <= 1:
        return 1.5 * distance**3 - 2.5 * distance**2 + 1
    return -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2 if distance < 2 else 0.0
