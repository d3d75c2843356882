"""What a way to run a network costs in quality: PSNR on Y against HR, on pictures reduced as the field reduces them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy import metrics, samples
from gpsr_deploy.backends import Backend
from gpsr_deploy.media import images
from gpsr_deploy.upscaling.upscale import Tiling, upscale

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB or grey (H, W)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture, and what it is to be made from."""

    lr: Pixels
    hr: Pixels


def pair(hr: Pixels, scale: int) -> Pair:
    """`hr`, cropped to a multiple of `scale`, and its LR."""
    height, width = (size // scale * scale for size in hr.shape[:2])
    hr = hr[:height, :width]
    return Pair(reduced(hr, scale), hr)


def photographs(scale: int) -> list[Pair]:
    """Those that ship, whole."""
    return [pair(images.read(path).pixels.astype(np.uint8), scale) for path in samples.photographs()]


def psnr_db(backend: Backend, pairs: Sequence[Pair]) -> float:
    """Mean PSNR on Y of what the network makes of each LR, in one piece. Raises NonFinite."""
    scale = backend.spec.scale
    found = [
        metrics.psnr(upscale(backend, pair.lr, tiling=Tiling(whole=True)).sr, pair.hr, shave=scale) for pair in pairs
    ]
    return float(np.mean(found))


def reduced(hr: Pixels, scale: int) -> Pixels:
    """HR -> 8-bit LR by MATLAB's bicubic imresize, antialiased (BI); the sides are multiples of `scale`."""
    values = hr.astype(np.float64)
    for axis in (0, 1):
        weights = _weights(values.shape[axis], scale)
        values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
    rounded: Pixels = np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
    return rounded


def _weights(length: int, scale: int) -> NDArray[np.float64]:
    """(length / scale, length): each LR pixel as a mean of HR pixels under Keys' kernel, a = -0.5, widened by `scale`.

    Beyond its edges the picture is mirrored, its last pixel repeated.
    """
    weights = np.zeros((length // scale, length))
    taps = np.arange(-2 * scale, 3 * scale)
    x = np.abs(taps - (scale - 1) / 2) / scale
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    kernel = np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
    kernel /= kernel.sum()
    for row, start in enumerate(range(0, length, scale)):
        places = (start + taps) % (2 * length)
        np.add.at(weights[row], np.where(places < length, places, 2 * length - 1 - places), kernel)
    return weights
