"""The last step: segments and everything of the input that is no film into the output. Packets only. On PyAV."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from gpsr_deploy import atomic
from gpsr_deploy.errors import OutputUnwritable
from gpsr_deploy.media.video import container
from gpsr_deploy.media.video.encoder import Encoding
from gpsr_deploy.media.video.ffmpeg import (
    ArgumentError,
    FFmpegError,
    InputContainer,
    InvalidDataError,
    OutputContainer,
    Packet,
    PatchWelcomeError,
    Stream,
    VideoStream,
    av,
)
from gpsr_deploy.media.video.segments import Segment
from gpsr_deploy.media.video.times import decode_times
from gpsr_deploy.media.video.written import Written

STALE = ("BPS", "DURATION", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "_STATISTICS", "ENCODER", "encoder")
"""Beginnings of tags that describe the input's own packets."""

OF_THE_CONTAINER = ("major_brand", "minor_version", "compatible_brands", "encoder", "ENCODER", "creation_time")
"""Tags that every container writes for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Companions:
    """The streams of the input that go along with the film."""

    streams: tuple[int, ...] = ()
    """Indices in the input."""
    left_out: tuple[str, ...] = ()
    """What does not go along, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The part of a film that is made, in seconds of its own time."""

    start: Fraction
    stop: Fraction


def companions(source: InputContainer, target: Path, kind: str, *, audio: bool, subtitles: bool) -> Companions:
    """Which streams of `source` a container of `kind` takes as they are.

    Raises OutputUnwritable for sound or subtitles that it does not take: they would be missed.
    """
    film = container.main_stream(source)
    kept, left_out = [], []
    for stream in source.streams:
        wanted = {"audio": audio, "subtitle": subtitles}.get(stream.type, True)
        if stream.index == film.index or not wanted:
            continue
        name = _called(stream)
        attached = stream.type == "attachment" or container.is_cover(stream)
        if stream.type in ("audio", "subtitle") or (attached and kind == "matroska"):
            refusal = _refusal(stream, kind)
            if refusal is None:
                kept.append(stream.index)
                continue
            if not attached:
                flag = "--no-audio" if stream.type == "audio" else "--no-subtitles"
                raise OutputUnwritable(
                    f"{kind} cannot hold {name} ({refusal})",
                    expected="a container for all that the film comes with",
                    remedy=f"an output named .mkv, or {flag}",
                    path=target,
                )
        left_out.append(f"{name} does not go into the output")
    return Companions(streams=tuple(kept), left_out=tuple(left_out))


def finish(
    target: Path,
    encoding: Encoding,
    folder: Path,
    segments: Sequence[Segment],
    *,
    source: Path | None,
    along: Companions,
    window: Window | None,
    overwrite: bool,
) -> int:
    """Writes `target` from the segments and the streams of `source` that go `along`: whole or not at all.

    Returns how many of the latter's packets the container refused, which happens to damaged ones.

    The film's packets get their times back exactly, as far as the container's clock goes. Within a `window` only the
    packets go along that begin in it. Raises OutputUnwritable or InputUnreadable.
    """
    with _writing(target), atomic.temporary(target) as (descriptor, temporary):
        with Written(descriptor, "r+", closefd=False) as file:
            with contextlib.ExitStack() as stack:
                original = stack.enter_context(container.opened(source)) if source is not None else None
                options = {"avoid_negative_ts": "disabled"}
                if encoding.container in ("mp4", "mov") and encoding.format.time_base.numerator == 1:
                    options["video_track_timescale"] = str(encoding.format.time_base.denominator)
                output = stack.enter_context(av.open(file, "w", format=encoding.container, container_options=options))
                refused = _mux(output, encoding, folder, segments, original, along, window)
            file.check()
        os.fsync(descriptor)
        atomic.publish(temporary, target, overwrite=overwrite)
    return refused


def _mux(
    output: OutputContainer,
    encoding: Encoding,
    folder: Path,
    segments: Sequence[Segment],
    original: InputContainer | None,
    along: Companions,
    window: Window | None,
) -> int:
    with container.opened(folder / segments[0].name) as first:
        film = output.add_stream_from_template(first.streams.video[0], opaque=True)
    assert isinstance(film, VideoStream)
    film.time_base = encoding.format.time_base
    film.codec_context.framerate = encoding.format.rate
    film.codec_context.sample_aspect_ratio = encoding.format.sample_aspect
    if encoding.format.display_matrix is not None:
        film.set_display_matrix(encoding.format.display_matrix)
    copies: dict[int, Stream] = {}
    if original is not None:
        output.metadata.update({k: v for k, v in original.metadata.items() if k not in OF_THE_CONTAINER})
        _describe(film, container.main_stream(original))
        for index in along.streams:
            copies[index] = _copied(output, original.streams[index])
        output.set_chapters(
            [
                chapter
                for chapter in original.chapters()
                if window is None or window.start <= chapter["start"] * (chapter["time_base"] or 1) < window.stop
            ]
        )
    video = _film_packets(folder, segments, film, encoding.format.time_base)
    others = _other_packets(original, copies, window) if original is not None and copies else iter(())
    refused = 0
    for packet in _by_time(video, others):
        try:
            output.mux_one(packet)
        except (InvalidDataError, ArgumentError, PatchWelcomeError):
            if packet.stream_index == film.index:
                raise
            refused += 1
    return refused


def _film_packets(folder: Path, segments: Sequence[Segment], stream: Stream, tick: Fraction) -> Iterator[Packet[Any]]:
    """Every packet of every segment, with its own times."""
    shown = [time for segment in segments for time in segment.pts]
    times = iter(zip(shown, decode_times(shown), strict=True))
    for segment in segments:
        with container.opened(folder / segment.name) as part:
            for packet in part.demux(part.streams.video[0]):
                if packet.size:
                    packet.time_base = tick
                    packet.pts, packet.dts = next(times)
                    packet.duration = 0
                    packet.stream = stream  # type: ignore[assignment]
                    yield packet


def _other_packets(original: InputContainer, copies: dict[int, Stream], window: Window | None) -> Iterator[Packet[Any]]:
    streams = [original.streams[index] for index in copies]
    with contextlib.suppress(FFmpegError):  # a cut file: what could be read of it was said when it was decoded
        for packet in original.demux(streams):
            when = _when(packet)
            inside = window is None or when is None or window.start <= when < window.stop
            if packet.size and (inside or container.is_cover(packet.stream)):
                packet.stream = copies[packet.stream_index]
                yield packet


def _by_time(first: Iterator[Packet[Any]], second: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Two streams of packets as one: muxers wait for the stream that is behind, in memory."""
    one, two = next(first, None), next(second, None)
    while one is not None or two is not None:
        if two is None or (one is not None and (_when(one) or 0) <= (_when(two) or 0)):
            assert one is not None
            yield one
            one = next(first, None)
        else:
            yield two
            two = next(second, None)


def _when(packet: Packet[Any]) -> Fraction | None:
    """Seconds."""
    ticks = packet.dts if packet.dts is not None else packet.pts
    return None if ticks is None else ticks * packet.time_base


def _copied(output: OutputContainer, stream: Stream) -> Stream:
    copy: Stream = output.add_stream_from_template(stream, opaque=True)
    _describe(copy, stream)
    return copy


def _describe(copy: Stream, stream: Stream) -> None:
    """The stream's tags and what players do with it."""
    copy.metadata.update({k: v for k, v in stream.metadata.items() if not k.startswith(STALE)})
    copy.disposition = stream.disposition


def _refusal(stream: Stream, kind: str) -> str | None:
    """Why a container of `kind` does not take a stream as it is; None: it does."""
    try:
        with av.open(io.BytesIO(), "w", format=kind) as trial:
            _copied(trial, stream)
            trial.start_encoding()
    except (FFmpegError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None


def _called(stream: Stream) -> str:
    context = stream.codec_context
    return f"stream {stream.index} ({f'{context.name} ' if context is not None else ''}{stream.type})"


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What fails inside, as OutputUnwritable about `path`."""
    try:
        yield
    except FileExistsError as error:
        raise OutputUnwritable("the output exists", remedy="--overwrite, or another name", path=path) from error
    except (OSError, FFmpegError) as error:
        raise OutputUnwritable(
            f"cannot be written ({error.strerror})",
            expected="a writable folder with space for the whole film",
            remedy="make room, then --resume",
            path=path,
        ) from error
