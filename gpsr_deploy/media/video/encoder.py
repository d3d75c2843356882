"""Which codec a film is written with, checked before the work, and frames into it. On PyAV."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gpsr_deploy.errors import OutputUnwritable, UsageError
from gpsr_deploy.media.video import tags
from gpsr_deploy.media.video.colour import Coding, Planes
from gpsr_deploy.media.video.ffmpeg import FFmpegError, OutputContainer, Packet, VideoFrame, VideoStream, av
from gpsr_deploy.media.video.stream import MAX_SIDE, Format

CONTAINERS = {".mkv": "matroska", ".webm": "webm", ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}
"""FFmpeg's name by suffix."""

CRF = {"libx264": 18, "libx265": 20, "libsvtav1": 24, "libvpx-vp9": 24}
"""Quality where none is asked for: high, since a film is enlarged for its detail."""

TELLS_ASPECT = ("libx264", "libx265", "mpeg4", "mpeg2video", "h264_nvenc", "hevc_nvenc")
"""Encoders whose streams carry the shape of pixels; Matroska could, but PyAV has no way to say it to its muxer."""

_MAX_PACKETS = 1 << 30

_SITING = {"left": "left", "centre": "center", "top-left": "topleft"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How frames are written."""

    container: str
    codec: str
    """FFmpeg's name of the encoder."""
    options: tuple[tuple[str, str], ...]
    """Of the encoder."""
    format: Format
    """Of the frames that it is given; its sizes are the output's."""


def choose(
    target: Path, source: Format, *, scale: int, codec: str | None, crf: int | None, options: Mapping[str, str]
) -> tuple[Encoding, tuple[str, ...]]:
    """The encoding for a film like `source`, `scale` times as large, in `target`; and what changes by it, in words.

    Depth, range, matrix, primaries, transfer and chroma layout are the source's, as far as the codec has them; the depth is
    never reduced. Tried with the codec and the container, so that what they refuse is refused here: raises UsageError or
    OutputUnwritable.
    """
    container = CONTAINERS.get(target.suffix.lower())
    if container is None:
        raise UsageError(
            f"the suffix is {target.suffix!r}",
            expected=", ".join(CONTAINERS),
            remedy="-o - for y4m, which ffmpeg takes",
            path=target,
        )
    if max(source.height, source.width) * scale > MAX_SIDE:
        raise OutputUnwritable(
            f"the output would be {source.height * scale}x{source.width * scale} pixels",
            expected=f"at most {MAX_SIDE} a side",
            path=target,
        )
    name = codec or _default(container, source.coding.bits)
    coding, warnings = _nearest(source.coding, _codec(name))
    found = Encoding(
        container=container,
        codec=name,
        options=tuple(sorted(_options(name, source, coding, crf=crf, asked=options).items())),
        format=_tagged(replace(source, height=source.height * scale, width=source.width * scale, coding=coding)),
    )
    _try(found, target)
    if source.sample_aspect != 1 and container in ("matroska", "webm") and name not in TELLS_ASPECT:
        warnings.append(
            f"neither {name} nor {container} is told that pixels are {source.sample_aspect} as wide as high"
        )
    if source.hdr is not None and name != "libx265":
        warnings.append(f"{name} is not told the mastering display and the light level of the film; libx265 is")
    return found, tuple(warnings)


class Encoder:
    """Frames into a container of its own, in memory or in a file."""

    def __init__(self, file: BinaryIO, encoding: Encoding, *, container: str | None = None) -> None:
        """Writes the header. `container` stands in for the encoding's. Raises FFmpegError."""
        self._format = encoding.format
        self._pixel_format = tags.pixel_format(encoding.format.coding)
        self._container: OutputContainer = av.open(
            file, "w", format=container or encoding.container, container_options={"avoid_negative_ts": "disabled"}
        )
        self._stream = _stream(self._container, encoding)
        self.pts: list[int] = []
        """Of the packets, in the order in which they lie in the file."""
        self._earliest = 0
        self._stream.codec_context.open()
        self.unknown = tuple(self._stream.codec_context.options)
        """Options that the encoder does not have."""
        self._container.start_encoding()

    def write(self, planes: Planes, pts: int) -> None:
        """Encodes one frame."""
        frame = VideoFrame(self._format.width, self._format.height, self._pixel_format)
        coding = self._format.coding
        ordered = (planes[1], planes[2], planes[0]) if coding.matrix == "rgb" else planes  # FFmpeg's are G, B, R
        for plane, samples in zip(frame.planes, ordered, strict=True):
            rows = np.frombuffer(memoryview(plane), coding.dtype)
            stride = plane.line_size // samples.itemsize
            rows[: stride * samples.shape[0]].reshape(-1, stride)[:, : samples.shape[1]] = samples
        frame.pts, frame.time_base = pts, self._format.time_base
        self._earliest = min(self._earliest, pts - _MAX_PACKETS)
        frame.colorspace, frame.color_range = tags.CODE_POINTS[coding.matrix], 2 if coding.full else 1
        frame.color_primaries, frame.color_trc = self._format.primaries, self._format.transfer
        self._mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Encodes what the encoder has kept back and writes the container's end; the file stays open."""
        self._mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Ends without an end."""
        self._container.close()

    def _mux(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            assert packet.pts is not None
            # Encoders' own decoding times are not always in order (libx265, with two frames), nor are they kept: they
            # have to rise, at any distance below the packets' times.
            packet.dts = self._earliest + len(self.pts)
            self.pts.append(packet.pts)
            self._container.mux_one(packet)


def _stream(container: OutputContainer, encoding: Encoding) -> VideoStream:
    format = encoding.format
    stream = container.add_stream(encoding.codec, rate=format.rate, options=dict(encoding.options))
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.width, context.height = format.width, format.height
    context.pix_fmt = tags.pixel_format(format.coding)
    context.time_base = format.time_base
    context.sample_aspect_ratio = format.sample_aspect
    context.colorspace = tags.CODE_POINTS[format.coding.matrix]
    context.color_range = 2 if format.coding.full else 1
    context.color_primaries, context.color_trc = format.primaries, format.transfer
    stream.time_base = format.time_base
    return stream


def _try(encoding: Encoding, target: Path) -> None:
    """Raises UsageError or OutputUnwritable where the encoder or the container refuses."""
    size = f"{encoding.format.width}x{encoding.format.height} pixels of {tags.pixel_format(encoding.format.coding)}"
    unknown, failure = _refusal(encoding)
    if failure is not None and _refusal(replace(encoding, options=()))[1] is None:
        raise UsageError(f"{encoding.codec} refuses its options ({failure})", remedy="-e and --crf with what it takes")
    if failure is not None:
        raise OutputUnwritable(
            f"{encoding.codec} in {encoding.container} refuses {size} ({failure})",
            expected="a codec for these, and a container for the codec",
            remedy="another -c, or an output named .mkv",
            path=target,
        )
    if unknown:
        raise UsageError(f"{encoding.codec} has no option {' or '.join(unknown)}", remedy="-e with one it has")


def _refusal(encoding: Encoding) -> tuple[tuple[str, ...], str | None]:
    """Options that the encoder does not have, and why it or the container refuses the encoding, if one does."""
    try:
        encoder = Encoder(io.BytesIO(), encoding)
        encoder.abandon()
    except (FFmpegError, ValueError) as error:
        return (), str(getattr(error, "strerror", None) or error)
    return encoder.unknown, None


def _codec(name: str) -> av.Codec:
    """The encoder of that name. Raises UsageError."""
    try:
        codec = av.Codec(name, "w")
    except ValueError as error:  # PyAV's UnknownCodecError
        raise UsageError(
            f"no encoder is called {name!r}", expected="libx264, libx265, libsvtav1, libvpx-vp9, ffv1 or another"
        ) from error
    if codec.type != "video":
        raise UsageError(f"{name} encodes {codec.type}", expected="an encoder of video")
    return codec


def _default(container: str, bits: int) -> str:
    if container == "webm":
        return "libvpx-vp9" if bits == 8 else "libsvtav1"
    return "libx264" if bits == 8 else "libx265"


def _options(
    codec: str, source: Format, coding: Coding, *, crf: int | None, asked: Mapping[str, str]
) -> dict[str, str]:
    """Those of the user, and ours beside them. Raises UsageError for a --crf that the codec does not have."""
    options = dict(asked)
    if crf is not None:
        known = av.CodecContext.create(codec, "w").supported_options.private
        if all(option.name != "crf" for option in known):
            raise UsageError(f"{codec} has no crf", remedy="-e with an option it has")
        options["crf"] = str(crf)
    elif codec in CRF and not options.keys() & {"crf", "b", "qp", "lossless"}:
        options["crf"] = str(CRF[codec])
    if coding.chroma == (2, 2):
        options.setdefault("chroma_sample_location", _SITING[coding.siting])
    if codec == "libx265":
        ours = ["log-level=error"]
        if source.hdr is not None:
            ours += [f"master-display={source.hdr.mastering}"] if source.hdr.mastering else []
            ours += [f"max-cll={source.hdr.light_level}"] if source.hdr.light_level else []
        options["x265-params"] = ":".join(filter(None, [*ours, options.get("x265-params", "")]))
    return options


def _nearest(coding: Coding, codec: av.Codec) -> tuple[Coding, list[str]]:
    """The codec's coding that is nearest to `coding` and loses nothing but chroma's resolution; and what changes."""
    offered = {name for each in codec.video_formats or () if (name := each.name) in tags.PLANAR}
    codings = [tags.PLANAR[name] for name in offered]
    deep = sorted({other.bits for other in codings if other.bits >= coding.bits})
    if not deep:
        raise UsageError(
            f"{codec.name} writes no {coding.bits} bits", expected="a codec that does", remedy="-c libx265 or -c ffv1"
        )
    as_deep = {(other.matrix == "rgb", other.chroma) for other in codings if other.bits == deep[0]}
    rgb, wanted = coding.matrix == "rgb", coding.chroma or (2, 2)
    warnings = []
    if rgb and (True, (1, 1)) not in as_deep:
        rgb, coding = False, replace(coding, matrix="709", full=False)
        warnings.append(f"{codec.name} writes no RGB: the film becomes YUV in BT.709")
    chroma = min(
        (chroma for kind, chroma in as_deep if kind == rgb and chroma is not None),
        key=lambda chroma: (chroma[0] > wanted[0], chroma[1] > wanted[1], -chroma[0] * chroma[1]),
        default=None,
    )
    if chroma is None:
        raise UsageError(f"{codec.name} writes no frames like these", remedy="-c libx264 or -c ffv1")
    if chroma[0] > wanted[0] or chroma[1] > wanted[1]:
        warnings.append(f"{codec.name} halves the resolution of the film's chroma")
    return replace(coding, bits=deep[0], chroma=chroma), warnings


def _tagged(format: Format) -> Format:
    """`format` with primaries and transfer told, by its matrix where the source does not: sizes change, and guesses with them."""
    matrix = format.coding.matrix
    return replace(
        format,
        primaries=tags.GUESSED_PRIMARIES[matrix] if format.primaries == tags.UNTOLD else format.primaries,
        transfer=tags.GUESSED_TRANSFER[matrix] if format.transfer == tags.UNTOLD else format.transfer,
    )
