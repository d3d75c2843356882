"""How an HR picture becomes LR: BI, BD and BD7. The same code on a CPU and on a GPU."""

from __future__ import annotations

import functools
from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

Degradation = Literal["bi", "bd", "bd7"]
"""`bi`: MATLAB's imresize, bicubic and antialiased. `bd`: Gaussian blur, then every scale-th pixel, as in the script that
made the field's BD test sets. `bd7`: the BD of the field's texts: a Gaussian of 7x7, then imresize."""

BLUR_SIGMA = 1.6
"""Standard deviation of BD's Gaussian, in HR pixels."""


def degrade(hr: Tensor, scale: int, degradation: Degradation) -> Tensor:
    """(N, C, H, W) -> (N, C, H / scale, W / scale); H and W are multiples of `scale`. Values are not clipped."""
    match degradation:
        case "bi":
            return imresize(hr, scale)
        case "bd":
            return blur_downscale(hr, scale)
        case "bd7":
            return imresize(blur(hr, size=7), scale)
    assert_never(degradation)


def blur_downscale(hr: Tensor, scale: int) -> Tensor:
    """BD as in the test sets of RCAN (Zhang et al., ECCV 2018): blur, then the pixel in the middle of each cell.

    7x7 at scale 3. The middle of an even cell lies between pixels, so there the kernel has an even size, 12x12, and its
    middle between pixels as well.
    """
    middle = (scale - 1) // 2
    return blur(hr, size=7 if scale % 2 else 12)[:, :, middle::scale, middle::scale]


def blur(hr: Tensor, *, size: int, sigma: float = BLUR_SIGMA) -> Tensor:
    """MATLAB's imfilter(hr, fspecial('gaussian', size, sigma), 'replicate'): the same shape.

    A kernel of even size lies half a pixel towards larger coordinates.
    """
    taps = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-taps.square() / (2 * sigma**2))
    weights = weights / weights.sum()
    before, after = (size - 1) // 2, size // 2
    blurred = F.pad(hr, (before, after, before, after), mode="replicate")
    for axis in (2, 3):  # sums of slices: a GPU would round the products of a convolution to TF32
        length = hr.shape[axis]
        slices = (blurred.narrow(axis, tap, length) * weight for tap, weight in enumerate(weights.tolist()))
        blurred = functools.reduce(torch.add, slices)
    return blurred


def imresize(hr: Tensor, scale: int) -> Tensor:
    """MATLAB's bicubic imresize of (N, C, H, W) to (N, C, H / scale, W / scale), whole pixels. Values are not clipped.

    torch's antialiased bicubic has MATLAB's kernel but cuts it off at the border, where MATLAB mirrors the picture with
    its edge pixel repeated; with that padding they are equal.
    """
    border = 4 * scale
    padded = hr[:, :, _mirror(hr.shape[2], border, hr.device)][:, :, :, _mirror(hr.shape[3], border, hr.device)]
    size = (padded.shape[2] // scale, padded.shape[3] // scale)
    lr = F.interpolate(padded, size=size, mode="bicubic", antialias=True, align_corners=False)
    return lr[:, :, 4:-4, 4:-4]


def bicubic_upsample(lr: Tensor, scale: int) -> Tensor:
    """MATLAB's bicubic enlargement, (a = -0.5, mirrored borders): the baseline of the field's tables."""
    border = 4
    padded = lr[:, :, _mirror(lr.shape[2], border, lr.device)][:, :, :, _mirror(lr.shape[3], border, lr.device)]
    size = (padded.shape[2] * scale, padded.shape[3] * scale)
    sr = F.interpolate(padded, size=size, mode="bicubic", antialias=True, align_corners=False)
    return sr[:, :, border * scale : -border * scale, border * scale : -border * scale]


def to_8_bit(image: Tensor) -> Tensor:
    """Values in [0, 1] or a little outside -> uint8, rounded half up as MATLAB does."""
    return (image * 255.0 + 0.5).floor().clamp(0, 255).to(torch.uint8)


def _mirror(length: int, border: int, device: torch.device) -> Tensor:
    """Indices of an axis extended by `border` on both sides: ... 1 0 0 1 2 ... n-1 n-1 n-2 ..."""
    period = torch.arange(-border, length + border, device=device) % (2 * length)
    return torch.where(period < length, period, 2 * length - 1 - period)
