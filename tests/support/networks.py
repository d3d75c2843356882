"""Networks that tests make, and how far what they compute may be from what is wanted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from gpsr_deploy.network.family import CONFIGS

if TYPE_CHECKING:
    from gpsr_deploy.network.gpsr import GPSR

MEMBERS = pytest.mark.parametrize(("member", "scale"), CONFIGS, ids=lambda value: str(value))

EXACT = 1e-12
"""Largest difference of values around 1 in float64, rounded in some hundred layers."""


def with_noise(network: GPSR, *, seed: int = 0, size: float = 0.3) -> GPSR:
    """The network with noise on every weight, so that its result depends on all of them.

    The noise has `size` over the root of a layer's inputs: up to 1, results stay of the order of 1.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            inputs = parameter[0].numel() if parameter.dim() > 1 else 100
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_((noise * size / math.sqrt(inputs)).to(parameter.dtype))
    return network.eval()


def random_network(member: str, scale: int, without: tuple[str, ...] = ()) -> GPSR:
    """In float64, with attention masks and branches far from where they start."""
    import torch

    from gpsr_deploy.network.gpsr import build

    torch.manual_seed(0)
    return with_noise(build(member, scale=scale, without=without).double(), size=0.8)
