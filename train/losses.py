"""The paper's loss: pixels, gradient maps at every level, gradient of the result (Eq. 12-18)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from degradations import imresize
from gpsr_deploy.network import gradient_map

ALPHA = 0.1
"""Weight of the gradient branch's maps (Eq. 16)."""

BETA = 0.001
"""Weight of the gradient of the SR picture (Eq. 16)."""


def gpsr_loss(sr: Tensor, maps: Sequence[Tensor], hr: Tensor) -> Tensor:
    """L1(SR, HR) + ALPHA * sum_s L1(G_s, g(down(HR))) + BETA * L1(g(SR), g(HR)), each L1 a mean.

    `sr` and `hr` are (N, 3, H, W) in [0, 1]; `maps` are G_1..G_N, the last at HR size, each before it at half that.
    """
    branch = sum(
        (F.l1_loss(found, label) for found, label in zip(maps, _labels(hr, len(maps)), strict=True)),
        start=sr.new_zeros(()),
    )
    result = F.l1_loss(gradient_map(sr), gradient_map(hr))
    return F.l1_loss(sr, hr) + ALPHA * branch + BETA * result


def _labels(hr: Tensor, levels: int) -> list[Tensor]:
    """G'_1..G'_N of Eq. 13, in float32 and without a gradient."""
    return [
        gradient_map(imresize(hr, 1 << (levels - level)) if level < levels else hr) for level in range(1, levels + 1)
    ]
