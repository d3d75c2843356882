"""What `gpsr-trt video` tells of its work: warnings, progress, the result; in words or as JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gpsr_deploy.cli import model_options, output
from gpsr_deploy.errors import printable

if TYPE_CHECKING:
    from gpsr_deploy.backends import Backend
    from gpsr_deploy.films.frames import Outcome
    from gpsr_deploy.media.video.stream import Source
    from gpsr_deploy.upscaling.upscale import Progress

PIPE = "-"
"""Stdin or stdout."""

REPORT_SECONDS = 2.0
"""Between two lines of progress with --json."""


@contextlib.contextmanager
def progress(options: argparse.Namespace) -> Iterator[Progress | None]:
    """A bar on a terminal's stderr; with --json objects instead."""
    if not options.json:
        title = printable(Path(options.input).name)
        with model_options.progress_bar(title, unit="frame", shown=not options.quiet) as on_progress:
            yield on_progress
        return
    begin = said = time.monotonic()
    first: int | None = None

    def tell(done: int, total: int) -> None:
        nonlocal said, first
        first = done - 1 if first is None else first
        now = time.monotonic()
        if now - said < REPORT_SECONDS:
            return
        said = now
        fps = (done - first) / (now - begin)
        left = round((total - done) / fps, 1) if total else None
        data({"frame": done, "frames": total or None, "fps": round(fps, 2), "seconds_left": left}, options)

    yield tell


def report(backend: Backend, source: Source, outcome: Outcome, options: argparse.Namespace) -> None:
    """The result, and what was wrong with the input."""
    damage, format, scale = source.damage, source.format, backend.spec.scale
    if damage.dropped or damage.patched:
        warn(
            f"dropped={damage.dropped} packets or frames that are damaged, patched={damage.patched} frames that the"
            " decoder made up in part",
            options,
        )
    if outcome.refused:
        warn(f"{outcome.refused} damaged packets of sound or subtitles are left out", options)
    if outcome.rounded:
        warn("times of frames are rounded to milliseconds, Matroska's clock; .mp4 and .mov keep them exactly", options)
    if damage.missing:
        warn(damage.missing, options)
    fps = outcome.made / outcome.seconds if outcome.seconds else 0.0
    if options.json:
        data(
            {
                "input": options.input,
                "output": options.output,
                "width": format.width * scale,
                "height": format.height * scale,
                "scale": scale,
                "backend": backend.runtime,
                "model": backend.spec.name,
                "precision": backend.precision,
                "device": backend.device,
                "frames": outcome.frames,
                "made": outcome.made,
                "computed": outcome.computed,
                "dropped": damage.dropped,
                "patched": damage.patched,
                "missing": damage.missing or None,
                "fps": round(fps, 3),
                "seconds": round(outcome.seconds, 3),
            },
            options,
        )
    elif not options.quiet:
        again = outcome.made - outcome.computed
        repeated = f", {again} repeat the one before" if again else ""
        output.say(
            f"{printable(options.output)}  {format.width * scale}x{format.height * scale}  {outcome.frames}"
            f" frames{repeated}  {outcome.seconds:.1f} s, {fps:.2f} frames a second"
        )


def warn(text: str, options: argparse.Namespace) -> None:
    """A warning about the input, unless -q."""
    if not options.quiet:
        output.say(f"warning: {printable(options.input)}: {printable(text)}")


def data(found: dict[str, object], options: argparse.Namespace) -> None:
    """On stdout, or on stderr where stdout carries frames."""
    if options.output == PIPE:
        output.say(json.dumps(found, allow_nan=False))
    else:
        output.data(found)
