"""Networks that tests make."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpsr_deploy.network.gpsr import GPSR


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
