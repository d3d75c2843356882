"""Raw video: frames one after another without a word about them, so that both sides must know. Bytes only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from gpsr_deploy.errors import UsageError
from gpsr_deploy.media.video import tags, y4m
from gpsr_deploy.media.video.colour import Coding, Matrix, Planes
from gpsr_deploy.media.video.stream import Damage, Format, Frame

PACKED = {"rgb24": 8, "rgb48le": 16}
"""Bits by name, of R, G, B pixel by pixel; all other formats are planar, under FFmpeg's names."""

NAMES = (*PACKED, *(name for name in tags.PLANAR if not name.startswith("gbrp")))


def format_of(
    name: str, *, height: int, width: int, rate: Fraction, assumed: Matrix | None = None, full: bool = False
) -> Format:
    """The format of raw frames called `name`. Raises UsageError for a name that is not in NAMES."""
    if name in PACKED:
        coding = Coding(matrix="rgb", full=True, bits=PACKED[name], chroma=(1, 1))
    elif name in NAMES:
        coding = replace(tags.PLANAR[name], matrix=assumed or tags.by_size(height, width), full=full)
    else:
        raise UsageError(f"raw frames of {name!r}", expected=", ".join(NAMES))
    return Format(height=height, width=width, coding=coding, time_base=1 / rate, rate=rate, tagged=False)


class RawSource:
    """Frames from a stream; pts counts them."""

    def __init__(self, stream: BinaryIO, format: Format) -> None:
        self._stream = stream
        self.format = format
        self.damage = Damage()

    def frames(self) -> Iterator[Frame]:
        """See Source.frames. A stream that ends inside a frame raises InputUnreadable, after the frames before it."""
        number = 0
        while planes := y4m.read_planes(self._stream, self.format, number, may_end=True):
            if self.format.coding.matrix == "rgb":
                pixels = np.concatenate([plane.ravel() for plane in planes]).reshape(*planes[0].shape, 3)
                planes = tuple(np.ascontiguousarray(pixels[:, :, channel]) for channel in range(3))
            yield Frame(planes=planes, pts=number)
            number += 1


class RawSink:
    """Frames into a stream, and nothing else."""

    def __init__(self, stream: BinaryIO, format: Format) -> None:
        self._stream = stream
        self._packed = format.coding.matrix == "rgb"

    def write(self, planes: Planes, pts: int) -> None:
        """See Sink.write."""
        y4m.write(self._stream, *([np.stack(planes, axis=-1)] if self._packed else planes))
