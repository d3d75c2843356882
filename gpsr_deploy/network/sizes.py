"""What a network costs: its parameters and its multiply-adds."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from gpsr_deploy.network.family import MULTIPLE_OF
from gpsr_deploy.network.gpsr import GPSR


def count_parameters(network: nn.Module) -> int:
    """Trainable numbers, training heads included where the network still has them."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def count_macs(network: GPSR, *, sr_height: int = 720, sr_width: int = 1280) -> float:
    """Multiply-adds of all convolutions for one SR picture, training heads included where the network still has them.

    The cost per pixel is exactly constant, so it is counted on one LR tile and scaled by area: SR sizes whose LR size is no
    multiple of 3 (1280 / 4) have a cost too.
    """
    macs = 0
    lr_size = 4 * MULTIPLE_OF

    def count(conv: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal macs
        assert isinstance(conv, nn.Conv2d)
        macs += conv.weight.numel() * output.shape[-2] * output.shape[-1]

    probe = copy.deepcopy(network).float().cpu()
    for module in probe.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    lr = torch.zeros(1, 3, lr_size, lr_size, dtype=torch.float32)
    if len(probe.map_heads):
        probe.forward_with_maps(lr)
    else:
        probe(lr)
    scale = network.config.scale
    return macs / math.prod((lr_size * scale,) * 2) * sr_height * sr_width
