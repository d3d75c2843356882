"""A film in, a larger film out: decoding, inference and encoding side by side, and what an interrupted run left goes on."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy import atomic
from gpsr_deploy.backends import Backend
from gpsr_deploy.errors import InputUnreadable, OutputUnwritable, UsageError
from gpsr_deploy.upscale import Progress, Tiling, plan_for, upscale
from gpsr_deploy.video import remux, segments, tags
from gpsr_deploy.video.colour import Coding, Planes, to_planes, to_rgb
from gpsr_deploy.video.encoder import Encoding
from gpsr_deploy.video.remux import Companions, Window
from gpsr_deploy.video.segments import Journal, Segment, SegmentSink
from gpsr_deploy.video.stages import Behind, ahead
from gpsr_deploy.video.stream import Format, Frame, Sink, Source

SEGMENT_FRAMES = 100
"""Frames of a segment: four seconds of film, and what a killed run loses at most."""

DECODED_AHEAD = 4
"""Frames in RGB that wait for the network; the result of one waits for the encoder."""

PREVIEW_SECONDS = 3.0
"""Between two previews."""

Rgb = NDArray[np.uint16]

Preview = Callable[[Rgb, Rgb], object]
"""Called with a frame and its enlargement, in the encoder's thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which frames of a film."""

    start: int = 0
    """The first, counted from 0."""
    limit: int | None = None
    """How many at most."""
    done: int = 0
    """How many of these an earlier run has made."""

    def of(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Those that are to be made. Raises InputUnreadable where the film ends before the first."""
        stop = None if self.limit is None else self.start + self.limit
        number = -1
        for number, frame in enumerate(itertools.islice(frames, stop)):
            if number >= self.start + self.done:
                yield frame
        if number < self.start:
            raise InputUnreadable(f"the film has {number + 1} frames", expected=f"more than {self.start}")

    def count(self, frames: int | None) -> int | None:
        """How many there are, of a film that has so many."""
        left = None if frames is None else max(frames - self.start, 0)
        return self.limit if left is None else left if self.limit is None else min(left, self.limit)

    @property
    def is_part(self) -> bool:
        """Whether it may leave out frames."""
        return self.start > 0 or self.limit is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the work is done; all but `tiling` leaves the frames as they are."""

    tiling: Tiling
    dedupe: bool = True
    """A frame whose planes are bit for bit those of the frame before is not computed again."""
    on_progress: Progress | None = None
    """Called with (frames done, frames in all), the latter 0 where that is not known."""
    preview: Preview | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was made."""

    frames: int
    """In all, earlier runs' included."""
    made: int
    """By this run."""
    computed: int
    """Of these, by the network; the others repeat the frame before."""
    seconds: float
    """Of this run."""
    rounded: bool = False
    """Whether the container's clock is too coarse for the frames' times."""
    refused: int = 0
    """Damaged packets of sound and subtitles that the container did not take."""


def enlarge(
    backend: Backend,
    source: Source,
    sink: Sink,
    coding: Coding,
    *,
    manner: Manner,
    selection: Selection,
) -> Outcome:
    """Sends the selected frames of `source` through the network into `sink`, in `coding`, one after another.

    Decoding, inference and encoding overlap. Raises GpsrError's children, and BrokenPipeError where a pipe's reader has gone.
    """
    begin = time.monotonic()
    total = selection.count(source.format.frames)
    computed = made = 0
    write = _writer(sink, coding, manner.preview)
    with Behind(write, depth=1) as behind:
        prepared = _prepared(selection.of(source.frames()), source.format.coding, dedupe=manner.dedupe)
        with contextlib.closing(ahead(prepared, depth=DECODED_AHEAD, check=behind.check)) as frames:
            for pts, lr in frames:
                sr = None if lr is None else upscale(backend, lr, tiling=manner.tiling).sr
                behind.put((pts, lr, sr))
                made, computed = made + 1, computed + (sr is not None)
                if manner.on_progress is not None:
                    manner.on_progress(selection.done + made, max(total, selection.done + made) if total else 0)
    return Outcome(frames=selection.done + made, made=made, computed=computed, seconds=time.monotonic() - begin)


def _prepared(
    frames: Iterator[Frame], coding: Coding, *, dedupe: bool
) -> Generator[tuple[int, Rgb | None], None, None]:
    """Time and RGB of each frame; None for RGB where the planes are those of the frame before."""
    before: Planes | None = None
    for frame in frames:
        same = dedupe and before is not None and all(map(np.array_equal, frame.planes, before))
        yield frame.pts, None if same else to_rgb(frame.planes, coding)
        before = frame.planes


def _writer(
    sink: Sink, coding: Coding, preview: Preview | None
) -> Callable[[tuple[int, Rgb | None, Rgb | None]], None]:
    """What the encoder's thread does with (time, LR, SR); None for both: the frame before once more."""
    planes: Planes = ()
    shown = -PREVIEW_SECONDS

    def write(item: tuple[int, Rgb | None, Rgb | None]) -> None:
        nonlocal planes, shown
        pts, lr, sr = item
        if lr is not None and sr is not None:
            planes = to_planes(sr, coding)
            if preview is not None and time.monotonic() - shown >= PREVIEW_SECONDS:
                preview(lr, sr)
                shown = time.monotonic()
        sink.write(planes, pts)

    return write


def pipe_format(source: Format, *, scale: int, keep_matrix: bool) -> Format:
    """The format of a pipe after `scale`: the source's, but for what y4m and raw video cannot say.

    They have no tags, so their reader goes by the size, which has changed: the matrix is what the new size makes it take,
    unless `keep_matrix`, or for BT.2020, which no size means.
    """
    height, width, coding = source.height * scale, source.width * scale, source.coding
    if coding.matrix == "rgb":
        coding = replace(coding, matrix=tags.by_size(height, width), full=False)
    elif not keep_matrix and coding.matrix != "2020":
        coding = replace(coding, matrix=tags.by_size(height, width))
    if coding.chroma == (2, 1):
        coding = replace(coding, chroma=(1, 1))
    return replace(source, height=height, width=width, coding=coding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A film file that is to be made."""

    source: Path | None
    """The film; None: a pipe, which nothing can read twice."""
    target: Path
    encoding: Encoding
    along: Companions
    binding: Mapping[str, str]
    """See Journal.binding."""
    selection: Selection
    segment_frames: int = SEGMENT_FRAMES
    resume: bool = False
    overwrite: bool = False


def to_file(
    backend: Backend,
    source: Source,
    task: Task,
    *,
    manner: Manner,
) -> Outcome:
    """Makes `task.target`, by way of segments beside it that outlast a kill; whole or not at all.

    Raises GpsrError's children; where a run was interrupted before and `task` does not resume it, OutputUnwritable.
    """
    check_target(task)
    atomic.clean_stale(task.target.parent)
    folder = segments.folder_of(task.target)
    with segments.locked(folder):
        journal, done = _continued(backend, source, task, folder, manner.tiling)
        if not manner.tiling.whole and backend.profile is None and backend.spec.tiling != "whole":
            manner = replace(manner, tiling=replace(manner.tiling, tile=journal.tile, halo=journal.halo))
        selection = replace(task.selection, done=sum(segment.frames for segment in done))
        sink = SegmentSink(folder, task.encoding, length=task.segment_frames, done=len(done))
        try:
            coding = task.encoding.format.coding
            outcome = enlarge(backend, source, sink, coding, manner=manner, selection=selection)
            sink.finish()
        finally:
            sink.abandon()
        found = segments.read(folder)
        assert found is not None
        every = found[1]
        refused = remux.finish(
            task.target,
            task.encoding,
            folder,
            every,
            source=task.source,
            along=task.along,
            window=_window(every, task.encoding.format) if task.selection.is_part else None,
            overwrite=task.overwrite,
        )
        segments.remove(folder)
    return replace(outcome, refused=refused, rounded=_rounded(every, task.encoding))


def check_target(task: Task) -> None:
    """Raises UsageError or OutputUnwritable for a place that nothing can be written to, before any work."""
    target = task.target
    if task.source is not None and target.exists() and target.samefile(task.source):
        raise UsageError("the output is the input", expected="another name", path=target)
    with contextlib.suppress(FileNotFoundError):
        target.lstat()
        if not target.is_file():
            raise OutputUnwritable("the output is no regular file", remedy="another name", path=target)
        if not task.overwrite:
            raise OutputUnwritable("the output exists", remedy="--overwrite, or another name", path=target)
    if not target.parent.is_dir():
        atomic.make_folder(target.parent)
    atomic.require_writable(target)


def _continued(
    backend: Backend, source: Source, task: Task, folder: Path, tiling: Tiling
) -> tuple[Journal, tuple[Segment, ...]]:
    """The journal of this film and the segments that are there; a new journal and none where nothing is to be resumed."""
    anew = task.overwrite and not task.resume
    found = None if anew else segments.read(folder)
    if found is not None and found[1]:
        if task.resume:
            segments.require_same(found[0], task.binding, folder)
            return found
        raise OutputUnwritable(
            f"an interrupted run left {sum(segment.frames for segment in found[1])} finished frames",
            expected="none, or --resume",
            remedy="--resume to go on from them, or --overwrite to begin anew",
            path=folder,
        )
    plan, halo = plan_for(backend, source.format.height, source.format.width, tiling=tiling)
    journal = Journal(binding=task.binding, tile=plan.tile, halo=halo)
    segments.begin(folder, journal)
    return journal, ()


def _window(every: tuple[Segment, ...], format: Format) -> Window:
    """The time that the segments' frames are shown."""
    times = [time for segment in every for time in segment.pts]
    return Window(start=min(times) * format.time_base, stop=max(times) * format.time_base + Fraction(1) / format.rate)


def _rounded(every: tuple[Segment, ...], encoding: Encoding) -> bool:
    """Whether Matroska, whose clock has milliseconds, moves a frame."""
    milliseconds = encoding.format.time_base * 1000
    return encoding.container in ("matroska", "webm") and any(
        (time * milliseconds).denominator != 1 for segment in every for time in segment.pts
    )
