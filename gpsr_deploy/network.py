"""The GPSR network (Zhu et al., Appl. Sci. 2023, 13, 833), its start at bicubic, and its exact folds.

Batches are NCHW RGB in [0, 1]. Height and width of an LR batch are multiples of `MULTIPLE_OF`; "Eq." is the paper's.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpsr_deploy.family import MULTIPLE_OF, Config, Member, Part, config_of

RESIDUAL_BRANCHES = 4
"""Residual branches of one RS3AM-SR (Eq. 21)."""

GRADIENT_EPS = 1e-6
"""Under the root of Eq. 8, so that flat regions have a derivative."""


def _conv3(inputs: int, outputs: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


def gradient_map(image: Tensor) -> Tensor:
    """g(I) of Eq. 8-9, per channel and with zero padding: (N, C, H, W) in [0, 1] -> the same shape, >= 0."""
    channels = image.shape[1]
    row = image.new_tensor([0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0]).reshape(3, 3)
    kernels = torch.stack([row, row.T]).unsqueeze(1).repeat(channels, 1, 1, 1)
    horizontal_vertical = F.conv2d(image, kernels, padding=1, groups=channels)
    squares = horizontal_vertical.square()
    return (squares[:, 0::2] + squares[:, 1::2] + GRADIENT_EPS).sqrt()


class Bicubic(nn.Module):
    """Bicubic upsampling as torch defines it: align_corners=False, a = -0.75, edges replicated."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lr: Tensor) -> Tensor:
        return F.interpolate(lr, scale_factor=self.scale, mode="bicubic", align_corners=False)


class DepthwiseBicubic(nn.Module):
    """The same upsampling as one fixed 5x5 depthwise convolution and a pixel shuffle: what every runtime has and runs fast."""

    kernels: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        taps = torch.zeros(scale, 5, dtype=torch.float64)
        for phase in range(scale):
            position = (phase + 0.5) / scale - 0.5
            for tap in range(5):
                taps[phase, tap] = _cubic(abs(tap - 2 - position))
        kernels = torch.einsum("iy,jx->ijyx", taps, taps).reshape(scale * scale, 1, 5, 5).repeat(3, 1, 1, 1)
        self.register_buffer("kernels", kernels, persistent=False)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, lr: Tensor) -> Tensor:
        padded = F.pad(lr, (2, 2, 2, 2), mode="replicate")
        upsampled: Tensor = self.shuffle(F.conv2d(padded, self.kernels, groups=3))
        return upsampled


def _cubic(distance: float, a: float = -0.75) -> float:
    """Keys' cubic convolution kernel at `distance` >= 0 pixels."""
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    if distance < 2:
        return a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return 0.0


class Encoder(nn.Module):
    """Halves the size and doubles the channels (Eq. 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = _conv3(channels, channels, stride=2, bias=False)
        self.conv = _conv3(channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        encoded: Tensor = self.conv(F.leaky_relu(self.down(x), 0.2))
        return encoded


class Residual(nn.Module):
    """conv-ReLU-conv, without the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv3(channels, channels)
        self.second = _conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(F.relu(self.first(x)))
        return residual


class LRSAM(nn.Module):
    """Large-receptive-field spatial attention (section 3.3.2): the input times a mask of one channel.

    The stride-3 convolution has no padding, so that cell i sees exactly the pixels 3i..3i+2 which the shuffle writes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // 2
        self.squeeze: nn.Module = nn.Conv2d(channels, squeezed, 1)
        self.cells = nn.Conv2d(squeezed, squeezed, 3, stride=3)
        self.pool = nn.MaxPool2d(7, stride=1, padding=3)
        self.context = _conv3(squeezed, squeezed)
        self.excite = _conv3(squeezed, 9)
        self.shuffle = nn.PixelShuffle(3)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.pool(self.cells(self.squeeze(x)))
        mask: Tensor = self.shuffle(self.excite(F.relu(self.context(cells))))
        attended: Tensor = x * torch.sigmoid(mask)
        return attended


class ConcatMix(nn.Module):
    """The 1x1 convolution over concatenated branches that opens a gate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, branches: Iterable[Tensor]) -> Tensor:
        mixed: Tensor = self.conv(torch.cat(list(branches), dim=1))
        return mixed


class SumMix(nn.Module):
    """The same as a sum of one 1x1 convolution per branch, taken as each branch arrives, so that none has to be kept.

    `convs` are identities where the 1x1 is folded into what makes the branch.
    """

    def __init__(self, convs: Iterable[nn.Module]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)

    def forward(self, branches: Iterable[Tensor]) -> Tensor:
        parts = (conv(branch) for conv, branch in zip(self.convs, branches, strict=True))
        total: Tensor = functools.reduce(torch.add, parts)
        return total


class ResidualBranches(nn.Module):
    """Four residual branches, each with attention if `lrsam` (Eq. 21); here in a row and plainly summed: no CRFS."""

    def __init__(self, channels: int, *, lrsam: bool) -> None:
        super().__init__()
        self.residuals = nn.ModuleList(Residual(channels) for _ in range(RESIDUAL_BRANCHES))
        self.attentions = nn.ModuleList(LRSAM(channels) if lrsam else nn.Identity() for _ in range(RESIDUAL_BRANCHES))

    def forward(self, x: Tensor) -> Tensor:
        return functools.reduce(torch.add, self.branches(x), x)

    def branches(self, h: Tensor) -> Iterator[Tensor]:
        """R_1..R_4, each made when it is asked for."""
        for residual, attention in zip(self.residuals, self.attentions, strict=True):
            branch = attention(residual(h))
            yield branch
            h = h + branch


class RS3AMSR(ResidualBranches):
    """RS3AM-SR (Eq. 21-22): the same branches, gathered by a gate."""

    def __init__(self, channels: int, *, lrsam: bool = True) -> None:
        super().__init__(channels, lrsam=lrsam)
        self.mix: nn.Module = ConcatMix(RESIDUAL_BRANCHES * channels, channels)
        self.gate = _conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = self.gate(self.mix(self.branches(x)))
        return gated + x


class RS3AMG(nn.Module):
    """RS3AM-G (Eq. 23-24): residual branches at gradient width, each fused with one feature of the SR branch."""

    def __init__(self, *, channels: int, sr_channels: int, blocks: int) -> None:
        super().__init__()
        both = sr_channels + channels
        self.residuals = nn.ModuleList(Residual(channels) for _ in range(blocks))
        self.attentions = nn.ModuleList(LRSAM(both) for _ in range(blocks))
        self.fuses = nn.ModuleList(_conv3(both, both // 2) for _ in range(blocks))
        self.mix: nn.Module = ConcatMix(blocks * (both // 2), channels)
        self.gate = _conv3(channels, channels)

    def forward(self, x: Tensor, sr_features: Sequence[Tensor]) -> Tensor:
        gated: Tensor = self.gate(self.mix(self.branches(x, sr_features)))
        return gated + x

    def branches(self, h: Tensor, sr_features: Sequence[Tensor]) -> Iterator[Tensor]:
        """R_1^grad..R_M^grad, each made when it is asked for."""
        for residual, attention, fuse, sr_feature in zip(
            self.residuals, self.attentions, self.fuses, sr_features, strict=True
        ):
            local = residual(h)
            yield fuse(attention(torch.cat([sr_feature, local], dim=1)))
            h = h + local


class Upsampler(nn.Module):
    """conv, pixel shuffle, 1x1 conv: twice the size (the tail of Eq. 5 and of Eq. 11)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.expand = _conv3(inputs, 4 * inputs)
        self.shuffle = nn.PixelShuffle(2)
        self.project: nn.Module = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        upsampled: Tensor = self.project(self.shuffle(self.expand(x)))
        return upsampled


class Decoder(nn.Module):
    """RS3AM-SR modules and an upsampler (Eq. 5); also returns what each module gave, for the gradient branch."""

    def __init__(self, *, channels: int, outputs: int, config: Config) -> None:
        super().__init__()
        block = RS3AMSR if config.crfs else ResidualBranches
        self.blocks = nn.ModuleList(block(channels, lrsam=config.lrsam) for _ in range(config.blocks))
        self.upsample = Upsampler(channels, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return self.upsample(x), features


class GradientModule(nn.Module):
    """One step of the gradient branch (Eq. 11)."""

    def __init__(self, *, channels: int, sr_channels: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.aggregate = RS3AMG(channels=channels, sr_channels=sr_channels, blocks=blocks)
        self.upsample = Upsampler(channels, outputs)

    def forward(self, x: Tensor, sr_features: Sequence[Tensor]) -> Tensor:
        upsampled: Tensor = self.upsample(self.aggregate(x, sr_features))
        return upsampled


class GPSR(nn.Module):
    """The network of one Config, as it is trained."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        levels = range(1, config.levels + 1)
        self.upsample: nn.Module = Bicubic(config.scale)
        self.head = _conv3(3, config.width)
        self.encoders = nn.ModuleList(Encoder(config.width << (level - 1)) for level in levels)
        branch = levels if config.gradient_branch else range(0)
        if config.gradient_branch:
            self.gradient_head = _conv3(3, config.level_width(0))
        self.decoders = nn.ModuleList(
            Decoder(channels=config.decoder_width(level), outputs=config.level_width(level), config=config)
            for level in levels
        )
        self.gradient_modules = nn.ModuleList(
            GradientModule(
                channels=config.level_width(level - 1),
                sr_channels=config.decoder_width(level),
                outputs=config.level_width(level),
                blocks=config.blocks,
            )
            for level in branch
        )
        self.map_heads = nn.ModuleList(_conv3(config.level_width(level), 3) for level in branch)
        self.tail = _conv3(config.joined * config.width, 3)
        start_at_bicubic(self)

    def forward(self, lr: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, H * scale, W * scale); H and W are multiples of MULTIPLE_OF."""
        sr, _ = self.features(lr)
        return sr

    def forward_with_maps(self, lr: Tensor) -> tuple[Tensor, list[Tensor]]:
        """SR as `forward`, and the gradient maps G_1..G_N of Eq. 12, (N, 3, H * 2^k, W * 2^k): what the loss needs.

        A network without its gradient branch has no maps.
        """
        sr, gradients = self.features(lr)
        return sr, [head(gradient) for head, gradient in zip(self.map_heads, gradients, strict=True)]

    def features(self, lr: Tensor) -> tuple[Tensor, list[Tensor]]:
        """SR, and the features F_1^grad..F_N^grad of the gradient branch (Eq. 1-11)."""
        encoded = [self.head(self.upsample(lr))]
        for encoder in self.encoders:
            encoded.append(encoder(encoded[-1]))
        x = encoded.pop()
        gradients = [self.gradient_head(gradient_map(lr))] if self.config.gradient_branch else []
        for level, decoder in enumerate(self.decoders):
            decoded, sr_features = decoder(x)
            joined = [encoded.pop(), decoded]
            if self.config.gradient_branch:
                gradients.append(self.gradient_modules[level](gradients[-1], sr_features))
                joined.append(gradients[-1])
            x = torch.cat(joined, dim=1)
        return self.tail(x), gradients[1:]


def build(member: Member, *, scale: int, without: Iterable[Part] = ()) -> GPSR:
    """A fresh network, started at bicubic; `without` names the parts that an ablation leaves out."""
    return GPSR(config_of(member, scale=scale, without=without))


@torch.no_grad()
def start_at_bicubic(network: GPSR) -> None:
    """Makes an untrained network return the bicubic upsampling of its input.

    The head carries RGB in its first three channels, the tail reads these and nothing else: there is no skip over the
    whole network, so it would otherwise have to learn the identity before anything else.
    """
    assert network.head.bias is not None and network.tail.bias is not None
    for channel in range(3):
        network.head.weight[channel].zero_()
        network.head.weight[channel, channel, 1, 1] = 1.0
        network.head.bias[channel] = 0.0
    network.tail.weight.zero_()
    network.tail.bias.zero_()
    for channel in range(3):
        network.tail.weight[channel, channel, 1, 1] = 1.0


# --- folds -----------------------------------------------------------------------------------------------------------


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


# --- sizes -----------------------------------------------------------------------------------------------------------


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
