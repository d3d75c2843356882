"""Colours that nobody sees, under transparency, and that must not show when a network reads across an edge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy.media.images.picture import Samples


def bleed(pixels: Samples, alpha: Samples) -> Samples:
    """`pixels` with the colours under `alpha` == 0, which nobody sees, replaced by those of the visible neighbourhood.

    So a network that reads across the edge of a shape meets the shape's own colour, and no fringe appears. Visible
    pixels stay as they are; a picture without any becomes zeros. (H, W, 3) or (H, W), with alpha (H, W); the result
    is `pixels` itself where nothing is hidden.
    """
    hidden = alpha == 0
    if not hidden.any():
        return pixels
    result = pixels.copy()
    result[hidden] = 0
    if not hidden.all():
        weight = alpha.astype(np.float32)[:, :, None]
        colours = _spread(pixels.reshape(*alpha.shape, -1) * weight, weight).reshape(pixels.shape)
        result[hidden] = np.rint(colours[hidden])
    return result


def _spread(total: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """`total` / `weight`, (H, W, C) / (H, W, 1); where that is 0 / 0, the same of the 3x3 around, else of half the size.

    So a place at distance d from all that has weight gets the mean of what lies within a few d. Some weight must be
    positive.
    """
    near = np.where(weight > 0, weight, _sum3x3(weight))
    known = near > 0
    result = np.where(weight > 0, total, _sum3x3(total))
    np.divide(result, near, out=result, where=known)
    if known.all():
        return result
    coarse = _spread(_sum2x2(total), _sum2x2(weight))
    height, width = weight.shape[:2]
    return np.where(known, result, coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width])


def _sum3x3(values: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    rows: NDArray[np.float32] = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def _sum2x2(values: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = values.shape[:2]
    padded: NDArray[np.float32] = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]
