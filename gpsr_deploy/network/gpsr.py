"""The whole network of one Config, as it is trained, and its start at bicubic.

Batches are NCHW RGB in [0, 1]. Height and width of an LR batch are multiples of `MULTIPLE_OF`; "Eq." is the paper's.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gpsr_deploy.network.family import Config, Member, Part, config_of
from gpsr_deploy.network.layers import Bicubic, Decoder, Encoder, GradientModule, conv3, gradient_map


class GPSR(nn.Module):
    """The network of one Config, as it is trained."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        levels = range(1, config.levels + 1)
        self.upsample: nn.Module = Bicubic(config.scale)
        self.head = conv3(3, config.width)
        self.encoders = nn.ModuleList(Encoder(config.width << (level - 1)) for level in levels)
        branch = levels if config.gradient_branch else range(0)
        if config.gradient_branch:
            self.gradient_head = conv3(3, config.level_width(0))
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
        self.map_heads = nn.ModuleList(conv3(config.level_width(level), 3) for level in branch)
        self.tail = conv3(config.joined * config.width, 3)
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
