"""YUV4MPEG2, the format of pipes between video programs: header, frames in, frames out. Bytes only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from gpsr_deploy.errors import InputUnreadable, OutputUnwritable
from gpsr_deploy.media.video import tags
from gpsr_deploy.media.video.colour import Coding, Matrix, Plane, Planes, Siting
from gpsr_deploy.media.video.stream import Damage, Format, Frame

MAGIC = b"YUV4MPEG2 "
MAX_LINE = 512
"""Bytes of a header, which is a line."""

_SUBSAMPLED: dict[str, tuple[tuple[int, int], Siting]] = {
    "420jpeg": ((2, 2), "centre"),
    "420mpeg2": ((2, 2), "left"),
    "420paldv": ((2, 2), "top-left"),
    "420": ((2, 2), "centre"),
    "422": ((1, 2), "left"),
    "444": ((1, 1), "left"),
}


def parse_header(line: bytes, *, assumed: Matrix | None = None) -> Format:
    """The format that a header (without its line's end) tells. Raises InputUnreadable.

    y4m has no matrix: `assumed`, else by size.
    """
    if not line.startswith(MAGIC) or not line.isascii():
        raise _bad("no YUV4MPEG2 header")
    fields: dict[str, str] = {}
    colour_range = ""
    for token in line.decode("ascii")[len(MAGIC) :].split():
        if token.startswith("X"):
            colour_range = token.removeprefix("XCOLORRANGE=") if token.startswith("XCOLORRANGE=") else colour_range
        elif token[0] in fields:
            raise _bad(f"the header's {token[0]} twice")
        else:
            fields[token[0]] = token[1:]
    width, height = (_size(fields.get(key, ""), key) for key in "WH")
    rate = _ratio(fields.get("F", ""), "F")
    if rate is None:
        raise _bad("no frame rate (F)")
    if fields.get("I", "p") not in ("p", "?"):
        raise InputUnreadable(
            f"interlaced frames (I{fields['I']})", expected="progressive ones", remedy="ffmpeg -vf bwdif before"
        )
    if colour_range not in ("", "FULL", "LIMITED"):
        raise _bad(f"a range {colour_range!r}")
    coding = _coding(fields.get("C", "420"))
    return Format(
        height=height,
        width=width,
        coding=replace(coding, matrix=assumed or tags.by_size(height, width), full=colour_range == "FULL"),
        time_base=1 / rate,
        rate=rate,
        sample_aspect=_ratio(fields.get("A", "0:0"), "A") or Fraction(1),
        tagged=False,
    )


def header(format: Format) -> bytes:
    """The line, with its end, that says what y4m can say of `format`."""
    aspect = format.sample_aspect
    colour_range = "FULL" if format.coding.full else "LIMITED"
    return (
        f"YUV4MPEG2 W{format.width} H{format.height} F{format.rate.numerator}:{format.rate.denominator} Ip"
        f" A{aspect.numerator}:{aspect.denominator} C{_name(format.coding)} XCOLORRANGE={colour_range}\n"
    ).encode("ascii")


class Y4mSource:
    """Frames from a stream; pts counts them."""

    def __init__(self, stream: BinaryIO, *, assumed: Matrix | None = None) -> None:
        self._stream = stream
        self.format = parse_header(_line(stream), assumed=assumed)
        self.damage = Damage()

    def frames(self) -> Iterator[Frame]:
        """See Source.frames. A stream that ends inside a frame raises InputUnreadable, after the frames before it."""
        number = 0
        while line := _line(self._stream, may_end=True):
            if line.split(b" ")[0] != b"FRAME":
                raise _bad(f"{line[:20]!r} where frame {number} should begin")
            yield Frame(planes=read_planes(self._stream, self.format, number), pts=number)
            number += 1


class Y4mSink:
    """Frames into a stream: one for one, since y4m knows no times."""

    def __init__(self, stream: BinaryIO, format: Format) -> None:
        self._stream = stream
        write(stream, header(format))

    def write(self, planes: Planes, pts: int) -> None:
        """See Sink.write."""
        write(self._stream, b"FRAME\n", *planes)


def read_planes(stream: BinaryIO, format: Format, number: int, *, may_end: bool = False) -> Planes:
    """The planes of frame `number`, exactly; none where the stream `may_end` before it and does.

    Raises InputUnreadable where the stream ends inside.
    """
    coding = format.coding
    size = coding.frame_bytes(format.height, format.width)
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = _readinto(stream, view[done:])
        if not count and not done and may_end:
            return ()
        if not count:
            raise InputUnreadable(
                f"the stream ends inside frame {number}, after {done} of {size} bytes",
                expected="whole frames",
                remedy="see why the program before ended",
            )
        done += count
    planes, start = [], 0
    for height, width in coding.sizes(format.height, format.width):
        plane = np.frombuffer(data, np.dtype(coding.dtype).newbyteorder("<"), height * width, start)
        if coding.bits > 8 and int(plane.max()) > coding.top:
            raise InputUnreadable(f"a sample of {int(plane.max())} in frame {number}", expected=f"{coding.bits} bits")
        planes.append(plane.reshape(height, width))
        start += plane.nbytes
    return tuple(planes)


def write(stream: BinaryIO, *parts: bytes | Plane) -> None:
    """All `parts`, sent on at once. Raises OutputUnwritable; BrokenPipeError where the reader has gone."""
    try:
        for part in parts:
            stream.write(part if isinstance(part, bytes) else np.ascontiguousarray(part).data.cast("B"))
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputUnwritable(f"cannot be written ({error.strerror})", path="stdout") from error


def _readinto(stream: BinaryIO, view: memoryview) -> int:
    try:
        return int(stream.readinto(view) or 0)  # type: ignore[attr-defined]
    except OSError as error:
        raise InputUnreadable(f"cannot be read ({error.strerror})", expected="a stream of frames") from error


def _line(stream: BinaryIO, *, may_end: bool = False) -> bytes:
    """The next line without its end; empty at the stream's end where it `may_end`. Raises InputUnreadable."""
    try:
        line = stream.readline(MAX_LINE)
    except OSError as error:
        raise InputUnreadable(f"cannot be read ({error.strerror})", expected="a stream of frames") from error
    if not line and may_end:
        return b""
    if not line.endswith(b"\n") or line == b"\n":
        found = "the stream ends in a header" if len(line) < MAX_LINE else f"a header of over {MAX_LINE} bytes"
        raise _bad(found)
    return line[:-1]


def _coding(name: str) -> Coding:
    found = re.fullmatch(r"mono([0-9]{0,2})|(420jpeg|420mpeg2|420paldv|4(?:20|22|44))(?:p([0-9]{1,2}))?", name)
    bits = int((found[1] or found[3] or 8) if found else 0)
    if found is None or not 8 <= bits <= 12 or (bits > 8 and found[2] in ("420jpeg", "420paldv")):
        raise InputUnreadable(
            f"frames of colour space C{name}",
            expected="C420, C422, C444 or Cmono of 8 to 12 bits",
            remedy="-pix_fmt yuv420p in the ffmpeg before",
        )
    if found[2] is None:
        return Coding(matrix="601", full=False, bits=bits, chroma=None)
    chroma, siting = _SUBSAMPLED[found[2]]
    if bits > 8 and siting == "centre":
        siting = "left"  # of the deep ones only the one of MPEG-2 and later is in use
    return Coding(matrix="601", full=False, bits=bits, chroma=chroma, siting=siting)


def _name(coding: Coding) -> str:
    depth = f"{coding.bits}" if coding.bits > 8 else ""
    if coding.chroma is None:
        return f"mono{depth}"
    if coding.chroma == (2, 2):
        if depth:
            return f"420p{depth}"
        return {"left": "420mpeg2", "centre": "420jpeg", "top-left": "420paldv"}[coding.siting]
    names = {(1, 2): "422", (1, 1): "444"}
    if coding.chroma not in names or coding.matrix == "rgb":
        raise OutputUnwritable(
            f"frames of {tags.pixel_format(coding)}", expected="what y4m can hold: 4:2:0, 4:2:2, 4:4:4 or mono"
        )
    return names[coding.chroma] + (f"p{depth}" if depth else "")


def _size(text: str, key: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise _bad(f"a size {key}{text!r}")
    return int(text)


def _ratio(text: str, key: str) -> Fraction | None:
    """None for 0:0, which means that it is not known."""
    found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    if found is None or (int(found[1]) == 0) != (int(found[2]) == 0):
        raise _bad(f"a ratio {key}{text!r}")
    return Fraction(int(found[1]), int(found[2])) if int(found[2]) else None


def _bad(found: str) -> InputUnreadable:
    return InputUnreadable(found, expected="a YUV4MPEG2 stream", remedy="-f yuv4mpegpipe in the ffmpeg before")
