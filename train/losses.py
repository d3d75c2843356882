"""The paper's loss: pixels, gradient maps at every level, gradient of the result (Eq. 12-18)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from degradations import imresize
from gpsr_deploy.network.layers import gradient_map

ALPHA = 0.1
"""Weight of the gradient branch's maps (Eq. 16)."""

BETA = 0.001
"""Weight of the gradient of the SR picture (Eq. 16)."""


def gpsr_loss(sr: Tensor, maps: Sequence[Tensor], hr: Tensor, *, alpha: float = ALPHA, beta: float = BETA) -> Tensor:
    """L1(SR, HR) + alpha * sum_s L1(G_s, g(down(HR))) + beta * L1(g(SR), g(HR)), each L1 a mean (Eq. 12-18).

    `sr` and `hr` are (N, 3, H, W) in [0, 1]; `maps` are G_1..G_N, the last at HR size, each before it at half that, or
    none for a network without its gradient branch. A term of weight 0 is not computed (the ablations of Table 2).
    """
    loss = F.l1_loss(sr, hr)
    if alpha and maps:
        terms = (F.l1_loss(found, label) for found, label in zip(maps, labels(hr, len(maps)), strict=True))
        loss = loss + alpha * sum(terms, start=sr.new_zeros(()))
    if beta:
        loss = loss + beta * F.l1_loss(gradient_map(sr), gradient_map(hr))
    return loss


def labels(hr: Tensor, levels: int) -> list[Tensor]:
    """G'_1..G'_N of Eq. 13, in float32 and without a gradient."""
    return [
        gradient_map(imresize(hr, 1 << (levels - level)) if level < levels else hr) for level in range(1, levels + 1)
    ]
