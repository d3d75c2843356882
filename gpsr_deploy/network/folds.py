"""The exact folds: the same function with fewer multiply-adds, for inference."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gpsr_deploy.network.gpsr import GPSR
from gpsr_deploy.network.layers import (
    LRSAM,
    RESIDUAL_BRANCHES,
    RS3AMG,
    RS3AMSR,
    ConcatMix,
    DepthwiseBicubic,
    SumMix,
    Upsampler,
)


@torch.no_grad()
def fold(network: GPSR) -> GPSR:
    """The same function with fewer multiply-adds: a copy in which pairs of linear layers are one. For inference only.

    Weights are folded in float64 and rounded once. What is folded: the 1x1 after each upsampler's shuffle, the 1x1 of
    RS3AM-G's gate into the convolutions before it, LRSAM's 1x1 into its stride-3 convolution; the heads that only the
    loss reads are dropped. At the same cost but in less memory or time: the 1x1 of RS3AM-SR's gate becomes a sum over the
    branches, and bicubic upsampling takes its depthwise form.
    """
    dtype = network.head.weight.dtype
    folded = copy.deepcopy(network).double()
    for module in folded.modules():
        match module:
            case Upsampler():
                _fold_upsampler(module)
            case LRSAM():
                _fold_squeeze(module)
            case RS3AMSR():
                module.mix = SumMix(_split(module.mix, RESIDUAL_BRANCHES))
            case RS3AMG():
                _fold_gate(module)
    folded.map_heads = nn.ModuleList()
    folded.upsample = DepthwiseBicubic(network.config.scale)
    return folded.to(dtype)


def _weight_and_bias(conv: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    return conv.weight, conv.bias


def _conv_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution with the stride and padding of `conv` and these weights."""
    outputs, inputs, *_ = weight.shape
    folded = nn.Conv2d(inputs, outputs, conv.weight.shape[-1], stride=conv.stride, padding=conv.padding)  # type: ignore[arg-type]
    folded.weight, folded.bias = nn.Parameter(weight), nn.Parameter(bias)
    return folded


def _fold_upsampler(upsampler: Upsampler) -> None:
    """1x1 after the shuffle -> the convolution before it: sub-pixel s of channel c is channel 4c + s there."""
    weight, bias = _weight_and_bias(upsampler.expand)
    project, project_bias = _weight_and_bias(upsampler.project)
    project = project[:, :, 0, 0]
    outputs = project.shape[0]
    weight = torch.einsum("oc,csiyx->osiyx", project, weight.reshape(-1, 4, *weight.shape[1:]))
    weight = weight.reshape(4 * outputs, *weight.shape[2:])
    bias = (project @ bias.reshape(-1, 4) + project_bias[:, None]).reshape(-1)
    upsampler.expand = _conv_like(upsampler.expand, weight, bias)
    upsampler.project = nn.Identity()


def _fold_squeeze(attention: LRSAM) -> None:
    """1x1 -> the stride-3 convolution after it; exact because that has no padding."""
    weight, bias = _weight_and_bias(attention.cells)
    squeeze, squeeze_bias = _weight_and_bias(attention.squeeze)
    folded_bias = bias + torch.einsum("omyx,m->o", weight, squeeze_bias)
    attention.cells = _conv_like(
        attention.cells, torch.einsum("omyx,mi->oiyx", weight, squeeze[:, :, 0, 0]), folded_bias
    )
    attention.squeeze = nn.Identity()


def _split(mix: nn.Module, branches: int) -> list[nn.Conv2d]:
    """A ConcatMix as one 1x1 convolution per branch; the bias goes with the first."""
    assert isinstance(mix, ConcatMix)
    weight, bias = _weight_and_bias(mix.conv)
    parts = weight.chunk(branches, dim=1)
    return [
        _conv_like(mix.conv, part, bias if index == 0 else torch.zeros_like(bias)) for index, part in enumerate(parts)
    ]


def _fold_gate(aggregate: RS3AMG) -> None:
    """The gate's 1x1 over the concatenation -> each of the convolutions that it joins; their sum takes its place."""
    parts = _split(aggregate.mix, len(aggregate.fuses))
    for index, (fuse, part) in enumerate(zip(aggregate.fuses, parts, strict=True)):
        assert isinstance(fuse, nn.Conv2d)
        weight, bias = _weight_and_bias(fuse)
        mix, mix_bias = _weight_and_bias(part)
        mix = mix[:, :, 0, 0]
        aggregate.fuses[index] = _conv_like(fuse, torch.einsum("om,miyx->oiyx", mix, weight), mix @ bias + mix_bias)
    aggregate.mix = SumMix(nn.Identity() for _ in parts)
