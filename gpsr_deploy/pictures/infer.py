"""One picture file in, one out: what `gpsr-trt infer` does per file."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gpsr_deploy.backends import Backend
from gpsr_deploy.errors import OutOfMemory, OutputUnwritable
from gpsr_deploy.media import images
from gpsr_deploy.media.images import Outline
from gpsr_deploy.pictures import sources
from gpsr_deploy.upscaling.tiles import TilePlan
from gpsr_deploy.upscaling.upscale import Image, Progress, Tiling, plan_for, upscale_rows, with_less_memory

STRIP_BYTES = 96 << 20
"""What the SR pixels of a row of tiles may take, where the network leaves a choice."""

STRIPS = 2
"""Rows of tiles that a picture is cut into at least, so that the first are encoded while the next are made ..."""

LEAST_STRIP_BYTES = 16 << 20
"""... where one takes so much: below, encoding takes no time that counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was written, and how."""

    source: Path
    target: Path
    height: int
    """SR pixels."""
    width: int
    """SR pixels."""
    tiles: int
    tile: tuple[int, int]
    """(height, width) in LR pixels."""
    halo: int
    """LR pixels."""
    seconds: float
    """From reading to the finished file."""
    warnings: tuple[str, ...]
    """What the output could not keep of the input, in words."""


def check(source: Path, target: Path, *, scale: int, overwrite: bool) -> tuple[str, ...]:
    """Finds out what can be known before any work, and makes the target's folder.

    Returns what the output cannot keep of the input, in words. Raises InputUnreadable, OutputUnwritable or UsageError.
    """
    header = images.probe(source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputUnwritable(
            f"the folder cannot be made ({error.strerror})", expected="a writable place", path=target.parent
        ) from error
    return images.check_output(
        target,
        height=header.height * scale,
        width=header.width * scale,
        has_alpha=header.has_alpha,
        depth=header.depth,
        grey=header.grey,
        has_exif=header.has_exif,
        overwrite=overwrite,
    )


def infer(
    backend: Backend,
    source: Path,
    target: Path,
    *,
    tiling: Tiling,
    overwrite: bool,
    on_progress: Progress | None = None,
) -> Result:
    """Reads `source`, enlarges it, writes `target`. Raises GpsrError's children; `target` is whole or untouched.

    The output is never in memory as a whole, nor is an input that can be read by rows: a row of tiles is read, run and
    written at a time.
    """
    begin = time.monotonic()
    scale = backend.spec.scale
    lost = check(source, target, scale=scale, overwrite=overwrite)
    try:
        picture = sources.opened(source)
        outline = picture.outline
        large = replace(outline, height=outline.height * scale, width=outline.width * scale)
        row_bytes = large.width * (1 if large.grey else 3) * large.depth // 8 * scale
        most = max(1, min(STRIP_BYTES, max(LEAST_STRIP_BYTES, row_bytes * outline.height // STRIPS)) // row_bytes)
        spare = max(0, row_bytes * outline.height - 2 * most * row_bytes)
        plan, halo = plan_for(backend, outline.height, outline.width, tiling=tiling, spare=spare, max_keep=most)

        def run(plan: TilePlan, at_once: int) -> None:
            with picture.layers() as layers, images.writing(target, large, overwrite=overwrite) as writer:
                strips = upscale_rows(
                    backend,
                    layers,
                    plan,
                    at_once=at_once,
                    memory=lambda rows: _strips_of(large, rows, layers=len(layers)),
                    on_progress=on_progress,
                )
                with contextlib.closing(strips):
                    for rows, (pixels, *alphas) in strips:
                        writer.write(pixels, picture.alpha(rows, scale, *alphas))

        plan, _ = with_less_memory(backend, plan, run, halo=halo, tiling=tiling)
    except MemoryError as error:
        raise OutOfMemory("no memory for this picture", remedy="a smaller picture", path=source) from error
    return Result(
        source=source,
        target=target,
        height=large.height,
        width=large.width,
        tiles=len(plan),
        tile=plan.tile,
        halo=halo,
        seconds=time.monotonic() - begin,
        warnings=outline.warnings + lost,
    )


def _strips_of(large: Outline, rows: slice, *, layers: int) -> list[Image]:
    """Memory for some SR rows: colours, and alpha where that is a layer."""
    shape = rows.stop - rows.start, large.width
    dtype = np.uint8 if large.depth == 8 else np.uint16
    return [np.empty(shape if large.grey or layer else (*shape, 3), dtype) for layer in range(layers)]
