"""The GPSR family: the numbers that make each member. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

MULTIPLE_OF = 3
"""LR sizes and tile origins are multiples of this: the stride of LRSAM's grid."""

Member = Literal["gpsr", "lite", "nano"]
"""`gpsr` is the paper's network, the others are smaller by the same rules."""

Part = Literal["gradient_branch", "lrsam", "crfs"]
PARTS: tuple[Part, ...] = ("gradient_branch", "lrsam", "crfs")
"""What the paper's ablations (Table 3) leave out: GGS, LRSAM, CRFS. The last two only touch the SR branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The numbers that make one network of the family."""

    scale: int
    """SR pixels per LR pixel and axis, a power of two; log2(scale) is the number N of encoders and decoders."""
    width: int
    """Channels n at SR size; every other width follows from it."""
    blocks: int
    """RS3AM-SR modules M per decoder, and branches of each RS3AM-G."""
    gradient_branch: bool = True
    """The gradient branch (Eq. 8-12); without it decoders join two features instead of three."""
    lrsam: bool = True
    """The spatial attention of the SR branch's residual branches."""
    crfs: bool = True
    """The gate over the SR branch's residual branches; without it they are plain residual blocks in a row."""

    @property
    def levels(self) -> int:
        """N, the number of encoders, of decoders and of gradient modules."""
        return self.scale.bit_length() - 1

    def level_width(self, level: int) -> int:
        """Channels of what decoder and gradient module `level` (1..N) return: n2(j) = n * 2^(N-j); level 0 is the input's."""
        return self.width << (self.levels - level)

    def decoder_width(self, level: int) -> int:
        """Channels W that decoder `level` (1..N) works in: those of its input (Eq. 6)."""
        return self.level_width(0) if level == 1 else self.joined * self.level_width(level - 1)

    @property
    def joined(self) -> int:
        """Features that Eq. 6 concatenates: encoder's, decoder's and gradient branch's."""
        return 3 if self.gradient_branch else 2

    @property
    def without(self) -> tuple[Part, ...]:
        """The parts that an ablation left out."""
        return tuple(part for part in PARTS if not getattr(self, part))


CONFIGS: dict[tuple[str, int], Config] = {
    ("gpsr", 4): Config(scale=4, width=16, blocks=4),
    ("gpsr", 8): Config(scale=8, width=10, blocks=4),
    ("lite", 4): Config(scale=4, width=8, blocks=2),
    ("lite", 8): Config(scale=8, width=5, blocks=2),
    ("nano", 4): Config(scale=4, width=4, blocks=1),
    ("nano", 8): Config(scale=8, width=3, blocks=1),
}
"""Every member of the family, by name and scale."""


def config_of(member: str, *, scale: int, without: Iterable[str] = ()) -> Config:
    """The numbers of one member, with parts left out. Raises ValueError for a member or a part that there is not."""
    left_out = set(without)
    if (member, scale) not in CONFIGS or not left_out <= set(PARTS):
        raise ValueError(f"no member of the family is {member} x{scale} without {sorted(left_out)}")
    return replace(CONFIGS[member, scale], **dict.fromkeys(left_out, False))
