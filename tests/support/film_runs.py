"""Films through the whole pipeline, with a network that only repeats pixels."""

from pathlib import Path

import numpy as np
from films import SCALE, Nearest, see, source_of

from gpsr_deploy.films import film, frames
from gpsr_deploy.media.video import container, encoder, remux
from gpsr_deploy.upscaling.upscale import Tiling


def made(
    path: Path, target: Path, *, backend=None, codec="ffv1", crf=None, options=None, audio=True, assumed=None, **more
):
    """`path` through the pipeline into `target`; the outcome, what was wrong with the input, and what was said."""
    manner = frames.Manner(tiling=Tiling(), dedupe=more.pop("dedupe", True), on_progress=more.pop("on_progress", None))
    with source_of(path, assumed=assumed) as source:
        encoding, warnings = encoder.choose(
            target, source.format, scale=SCALE, codec=codec, crf=crf, options=options or {}
        )
        with container.opened(path) as again:
            along = remux.companions(again, target, encoding.container, audio=audio, subtitles=True)
        task = film.Task(
            source=path, target=target, encoding=encoding, along=along, binding={"input": "this"},
            selection=frames.Selection(start=more.pop("start", 0), limit=more.pop("limit", None)), **more,
        )  # fmt: skip
        outcome = film.to_file(backend or Nearest(), source, task, manner=manner)
        return outcome, source.damage, (*warnings, *along.left_out)


def assert_same_frames(one: Path, two: Path) -> None:
    first, second = see(one), see(two)
    assert first.seconds == second.seconds
    for a, b in zip(first.frames, second.frames, strict=True):
        assert all(map(np.array_equal, a, b))
