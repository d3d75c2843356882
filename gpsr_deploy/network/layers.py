"""The modules that GPSR is made of, as section 3 of the paper has them. Batches are NCHW; "Eq." is the paper's."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpsr_deploy.network.family import Config

RESIDUAL_BRANCHES = 4
"""Residual branches of one RS3AM-SR (Eq. 21)."""

GRADIENT_EPS = 1e-6
"""Under the root of Eq. 8, so that flat regions have a derivative."""


def conv3(inputs: int, outputs: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """A 3x3 convolution with padding 1."""
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
        self.down = conv3(channels, channels, stride=2, bias=False)
        self.conv = conv3(channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        encoded: Tensor = self.conv(F.leaky_relu(self.down(x), 0.2))
        return encoded


class Residual(nn.Module):
    """conv-ReLU-conv, without the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv3(channels, channels)
        self.second = conv3(channels, channels)

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
        self.context = conv3(squeezed, squeezed)
        self.excite = conv3(squeezed, 9)
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
        self.gate = conv3(channels, channels)

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
        self.fuses = nn.ModuleList(conv3(both, both // 2) for _ in range(blocks))
        self.mix: nn.Module = ConcatMix(blocks * (both // 2), channels)
        self.gate = conv3(channels, channels)

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
        self.expand = conv3(inputs, 4 * inputs)
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
