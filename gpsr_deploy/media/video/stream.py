"""What a stream of frames is, wherever it comes from or goes: its format, its frames, and the two ends of a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media.video.colour import Coding, Planes

MAX_FRAME_PIXELS = 1 << 26
"""Most pixels a frame may claim: twice 8K. Headers are hostile."""

MAX_SIDE = 1 << 15
"""Most pixels a side, that of an output too: what the codecs can hold is less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HdrLight:
    """What a film of high dynamic range says of the display that it was made on (SMPTE ST 2086) and of itself (CTA-861.3)."""

    mastering: str | None = None
    """As x265's `master-display` takes it: G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)."""
    light_level: str | None = None
    """As x265's `max-cll` takes it: most light of a pixel, of a frame's mean, in cd/m^2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What all frames of a stream share."""

    height: int
    width: int
    coding: Coding
    time_base: Fraction
    """Seconds of one tick of Frame.pts."""
    rate: Fraction
    """Frames a second: exact where every frame lasts as long, else the mean."""
    constant: bool = True
    """Whether every frame is known to last as long."""
    sample_aspect: Fraction = Fraction(1)
    """Width of a pixel over its height."""
    primaries: int = 2
    """Code point of H.273; 2: not told."""
    transfer: int = 2
    """Code point of H.273; 2: not told."""
    tagged: bool = True
    """Whether the stream itself tells its matrix."""
    display_matrix: tuple[int, ...] | None = None
    """How players turn and mirror frames: nine numbers as in ISO/IEC 14496-12; the frames here are not turned."""
    hdr: HdrLight | None = None
    frames: int | None = None
    """How many there are, where that is known or can be estimated; for progress only."""

    def __post_init__(self) -> None:
        if not (0 < self.height <= MAX_SIDE and 0 < self.width <= MAX_SIDE):
            raise InputUnreadable(
                f"frames of {self.height}x{self.width} pixels", expected=f"1 to {MAX_SIDE} pixels a side"
            )
        if self.height * self.width > MAX_FRAME_PIXELS:
            raise InputUnreadable(
                f"frames of {self.height}x{self.width} pixels", expected=f"at most {MAX_FRAME_PIXELS} pixels"
            )
        if self.time_base <= 0 or self.rate <= 0 or self.sample_aspect <= 0:
            raise InputUnreadable("a rate or a pixel aspect that is not positive", expected="positive numbers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame. Its planes are nobody else's."""

    planes: Planes
    pts: int
    """When it is shown, in ticks of the format's time base; each frame's is above that of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What was wrong with a stream, known when all of it was read."""

    dropped: int = 0
    """Packets that cannot be decoded, and frames without a place in time."""
    patched: int = 0
    """Frames that the decoder made up in part, since their data is damaged."""
    missing: str = ""
    """What the stream claims to hold and does not, in words."""


class Source(Protocol):
    """Where frames come from."""

    @property
    def format(self) -> Format:
        """Known as soon as the source is open."""

    @property
    def damage(self) -> Damage:
        """So far."""

    def frames(self) -> Iterator[Frame]:
        """Every frame, once, in the order in which they are shown. Raises InputUnreadable."""


class Sink(Protocol):
    """Where frames go."""

    def write(self, planes: Planes, pts: int) -> None:
        """One frame; `pts` in the source's ticks. Raises OutputUnwritable."""
