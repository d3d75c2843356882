"""The frames of a film file, with its times and tags, and what of it cannot be decoded. On PyAV."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media.video import tags
from gpsr_deploy.media.video.colour import Coding, Matrix, Planes
from gpsr_deploy.media.video.container import AGAIN, main_stream
from gpsr_deploy.media.video.ffmpeg import FFmpegError, InputContainer, VideoFrame, VideoStream, av
from gpsr_deploy.media.video.stream import Damage, Format, Frame, HdrLight

FALLBACK_RATE = Fraction(25)
"""Frames a second where a film tells nothing at all."""

SLACK = 0.5
"""Seconds by which a film may end before its container says so: streams of a file seldom end together."""


class FilmSource:
    """The frames of a container's film."""

    def __init__(self, container: InputContainer, *, assumed: Matrix | None = None) -> None:
        """Decodes the first frame. `assumed` is the matrix of a film that does not tell. Raises InputUnreadable."""
        self._container = container
        self._stream = main_stream(container)
        self._dropped = self._patched = 0
        self._missing = ""
        self._seen_until = 0.0
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            raise InputUnreadable("not one frame can be decoded", expected="a film", remedy=AGAIN)
        self._first: VideoFrame = first
        self.format = _format(container, self._stream, first, assumed)

    @property
    def damage(self) -> Damage:
        """See Source.damage."""
        return Damage(dropped=self._dropped, patched=self._patched, missing=self._missing)

    def frames(self) -> Iterator[Frame]:
        """See Source.frames. A frame that is not shown after the one before is dropped, and counted."""
        tick = max(1, round(1 / (self.format.rate * self.format.time_base)))
        last: int | None = None
        frame: VideoFrame | None = self._first
        while frame is not None:
            _require_same(frame, self._first)
            pts = frame.pts if frame.pts is not None else 0 if last is None else last + tick
            if last is not None and pts <= last:
                self._dropped += 1
            else:
                yield Frame(planes=planes_of(frame, self.format.coding), pts=pts)
                last = pts
            frame = next(self._decoded, None)
        self._missing = self._what_is_missing()

    def _decode(self) -> Iterator[VideoFrame]:
        """Every frame that can be decoded; what cannot be is counted."""
        for packet in self._packets():
            try:
                decoded = self._stream.decode(packet)
            except FFmpegError:
                self._dropped += 1
                continue
            for frame in decoded:
                self._patched += frame.is_corrupt
                yield frame

    def _packets(self) -> Iterator[Any]:
        """The film's packets, then None, which empties the decoder. All streams are read, to know where they end."""
        packets = iter(self._container.demux())
        try:
            for packet in packets:
                if packet.pts is not None and packet.size:
                    until = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    self._seen_until = max(self._seen_until, until)
                if packet.stream_index == self._stream.index and packet.size:
                    yield packet
        except FFmpegError:
            self._dropped += 1
        except OSError as error:
            raise InputUnreadable(f"the file cannot be read any more ({error.strerror})", remedy=AGAIN) from error
        yield None

    def _what_is_missing(self) -> str:
        claimed = self._container.duration
        if claimed is None or claimed <= 0:
            return ""
        start = (self._container.start_time or 0) / av.time_base
        seen, length = self._seen_until - start, claimed / av.time_base
        if length - seen <= max(SLACK, 2 / float(self.format.rate)):
            return ""
        frames = round((length - seen) * float(self.format.rate))
        return f"the film ends at {seen:.2f} s of {length:.2f} s: about {frames} frames are missing"


def planes_of(frame: VideoFrame, coding: Coding) -> Planes:
    """The frame's samples, copied."""
    if frame.format.name in tags.REPACKED:
        frame = frame.reformat(format=tags.REPACKED[frame.format.name])
    planes = []
    for plane, (height, width) in zip(frame.planes, coding.sizes(frame.height, frame.width), strict=True):
        rows = np.frombuffer(memoryview(plane), coding.dtype)[
            : plane.line_size // np.dtype(coding.dtype).itemsize * height
        ]
        planes.append(rows.reshape(height, -1)[:, :width].copy())
    if coding.matrix == "rgb":  # FFmpeg's planes are G, B, R
        planes = [planes[2], planes[0], planes[1]]
    return tuple(planes)


def _format(container: InputContainer, stream: VideoStream, frame: VideoFrame, assumed: Matrix | None) -> Format:
    """What the film is, by its container and its first frame."""
    if frame.interlaced_frame:
        raise _interlaced(frame)
    rate = stream.average_rate or stream.guessed_rate or FALLBACK_RATE
    duration = Fraction(container.duration or 0, av.time_base)
    coding, tagged = tags.coding_of(
        frame.format.name,
        matrix=frame.colorspace,
        colour_range=frame.color_range,
        height=frame.height,
        width=frame.width,
        assumed=assumed,
    )
    if stream.codec_context.name == "mjpeg":
        coding = replace(coding, siting="centre")  # JFIF's; what other codecs tell of it PyAV does not show
    return Format(
        height=frame.height,
        width=frame.width,
        coding=coding,
        time_base=stream.time_base or 1 / rate,
        rate=rate,
        constant=stream.base_rate in (None, rate),
        sample_aspect=stream.sample_aspect_ratio or Fraction(1),
        primaries=frame.color_primaries,
        transfer=frame.color_trc,
        tagged=tagged,
        display_matrix=_display_matrix(frame),
        hdr=_hdr(frame),
        frames=stream.frames or round(duration * rate) or None,
    )


def _require_same(frame: VideoFrame, first: VideoFrame) -> None:
    """Raises InputUnreadable where a film changes on its way."""
    if (frame.height, frame.width, frame.format.name) != (first.height, first.width, first.format.name):
        raise InputUnreadable(
            f"the film changes from {first.height}x{first.width} {first.format.name} to {frame.height}x{frame.width}"
            f" {frame.format.name} at {frame.time or 0:.2f} s",
            expected="frames of one size and format",
            remedy="cut it there with ffmpeg, or scale it to one size",
        )
    if frame.interlaced_frame:
        raise _interlaced(frame)


def _interlaced(frame: VideoFrame) -> InputUnreadable:
    return InputUnreadable(
        f"interlaced frames, from {frame.time or 0:.2f} s on",
        expected="progressive ones",
        remedy="deinterlace it before: ffmpeg -i FILM -vf bwdif -crf 10 progressive.mkv",
    )


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    data = _side_data(frame, "DISPLAYMATRIX")
    return struct.unpack("=9i", data[:36]) if len(data) >= 36 else None


def _hdr(frame: VideoFrame) -> HdrLight | None:
    """From FFmpeg's AVMasteringDisplayMetadata and AVContentLightMetadata."""
    mastering = light_level = None
    data = _side_data(frame, "MASTERING_DISPLAY_METADATA")
    if len(data) >= 88:
        numbers = struct.unpack("=22i", data[:88])
        values = [Fraction(n, d) if d else Fraction(0) for n, d in zip(numbers[0:20:2], numbers[1:20:2], strict=True)]
        if numbers[20] and numbers[21]:
            red, green, blue, white = (
                f"({round(x * 50000)},{round(y * 50000)})" for x, y in zip(values[0:8:2], values[1:8:2], strict=True)
            )
            mastering = f"G{green}B{blue}R{red}WP{white}L({round(values[9] * 10000)},{round(values[8] * 10000)})"
    data = _side_data(frame, "CONTENT_LIGHT_LEVEL")
    if len(data) >= 8:
        most, mean = struct.unpack("=2I", data[:8])
        light_level = f"{most},{mean}"
    return HdrLight(mastering=mastering, light_level=light_level) if mastering or light_level else None


def _side_data(frame: VideoFrame, name: str) -> bytes:
    """Empty where there is none."""
    side_data: Any = frame.side_data
    try:
        return bytes(side_data[name])
    except KeyError:
        return b""
