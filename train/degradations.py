"""How an HR picture becomes LR: BI, MATLAB's imresize with its antialiased bicubic kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def imresize(hr: Tensor, scale: int) -> Tensor:
    """(N, C, H, W) -> (N, C, H / scale, W / scale); H and W are multiples of `scale`. Values are not clipped.

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
