"""Frames of a film through a network, one after another: decoding, inference and encoding side by side."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy.backends import Backend
from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media.video.colour import Coding, Planes, to_planes, to_rgb
from gpsr_deploy.media.video.stages import Behind, ahead
from gpsr_deploy.media.video.stream import Format, Frame, Sink, Source
from gpsr_deploy.upscaling.tiles import TilePlan
from gpsr_deploy.upscaling.upscale import Held, Progress, Tiling, plan_for, upscale, upscale_rows, with_less_memory

DECODED_AHEAD = 4
"""Frames in RGB that wait for the network; the result of one waits for the encoder."""

MOST_TOGETHER = 16
"""Frames that go through the network at once, where an engine takes more."""

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
    unit: int | None = None
    """Frames together in the network are a divisor of it, so that those of a resumed run are the same ones; None: any."""


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
    together = _together(backend, source.format, manner)
    write = _writer(sink, coding, manner.preview)
    with Behind(write, depth=1) as behind:
        prepared = _prepared(selection.of(source.frames()), source.format.coding, dedupe=manner.dedupe)
        with contextlib.closing(ahead(prepared, depth=DECODED_AHEAD, check=behind.check)) as frames:
            while group := list(itertools.islice(frames, together)):
                made += len(group)
                results = iter(_enlarged(backend, [lr for _, lr in group if lr is not None], manner.tiling))
                for pts, lr in group:
                    behind.put((pts, lr, None if lr is None else next(results)))
                    computed += lr is not None
                if manner.on_progress is not None:
                    done = selection.done + made
                    manner.on_progress(done, max(total, done) if total else 0)
    return Outcome(frames=selection.done + made, made=made, computed=computed, seconds=time.monotonic() - begin)


def _together(backend: Backend, format: Format, manner: Manner) -> int:
    """Frames that go through the network at once: as many as make up the batch that an engine was built for."""
    if backend.profile is None:
        return 1
    plan, _ = plan_for(backend, format.height, format.width, tiling=manner.tiling)
    most = max(1, min(backend.profile.batch // len(plan), MOST_TOGETHER))
    return next(count for count in range(most, 0, -1) if (manner.unit or count) % count == 0)


def _enlarged(backend: Backend, frames: list[Rgb], tiling: Tiling) -> list[Rgb]:
    """The frames, all of one size, through the network: their tiles share its batches."""
    if len(frames) < 2:
        return [upscale(backend, lr, tiling=tiling).sr for lr in frames]
    height, width = frames[0].shape[:2]
    scale = backend.spec.scale
    plan, halo = plan_for(backend, height, width, tiling=tiling)
    results = [np.empty((height * scale, width * scale, 3), np.uint16) for _ in frames]

    def run(plan: TilePlan, at_once: int) -> None:
        layers = [Held(lr) for lr in frames]
        strips = upscale_rows(backend, layers, plan, at_once=at_once, memory=lambda rows: [sr[rows] for sr in results])
        for _strip in strips:
            pass

    with_less_memory(backend, plan, run, halo=halo, tiling=tiling)
    return results


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
