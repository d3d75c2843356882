"""A film in, a larger film out, by way of segments: what an interrupted run left goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from gpsr_deploy import atomic
from gpsr_deploy.backends import Backend
from gpsr_deploy.errors import OutputUnwritable, UsageError
from gpsr_deploy.films.frames import Manner, Outcome, Selection, enlarge
from gpsr_deploy.media.video import remux, segments
from gpsr_deploy.media.video.encoder import Encoding
from gpsr_deploy.media.video.remux import Companions, Window
from gpsr_deploy.media.video.segments import Journal, Segment, SegmentSink
from gpsr_deploy.media.video.stream import Format, Source
from gpsr_deploy.upscaling.upscale import Tiling, plan_for

SEGMENT_FRAMES = 100
"""Frames of a segment: four seconds of film, and what a killed run loses at most."""


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
        manner = replace(manner, unit=task.segment_frames)
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
