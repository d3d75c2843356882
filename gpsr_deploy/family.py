"""The GPSR family: the numbers that make each member. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MULTIPLE_OF = 3
"""LR sizes and tile origins are multiples of this: the stride of LRSAM's grid."""

Member = Literal["gpsr", "lite", "nano"]
"""`gpsr` is the paper's network, the others are smaller by the same rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The numbers that make one network of the family."""

    scale: int
    """SR pixels per LR pixel and axis, a power of two; log2(scale) is the number N of encoders and decoders."""
    width: int
    """Channels n at SR size; every other width follows from it."""
    blocks: int
    """RS3AM-SR modules M per decoder, and branches of each RS3AM-G."""

    @property
    def levels(self) -> int:
        """N, the number of encoders, of decoders and of gradient modules."""
        return self.scale.bit_length() - 1

    def level_width(self, level: int) -> int:
        """Channels of what decoder and gradient module `level` (1..N) return: n2(j) = n * 2^(N-j); level 0 is the input's."""
        return self.width << (self.levels - level)

    def decoder_width(self, level: int) -> int:
        """Channels W that decoder `level` (1..N) works in: those of its input (Eq. 6)."""
        return self.level_width(0) if level == 1 else 3 * self.level_width(level - 1)


CONFIGS: dict[tuple[str, int], Config] = {
    ("gpsr", 4): Config(scale=4, width=16, blocks=4),
    ("gpsr", 8): Config(scale=8, width=10, blocks=4),
    ("lite", 4): Config(scale=4, width=8, blocks=2),
    ("lite", 8): Config(scale=8, width=5, blocks=2),
    ("nano", 4): Config(scale=4, width=4, blocks=1),
    ("nano", 8): Config(scale=8, width=3, blocks=1),
}
"""Every member of the family, by name and scale."""
