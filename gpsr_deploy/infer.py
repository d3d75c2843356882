"""One picture file in, one out: what `gpsr-trt infer` does per file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy import images
from gpsr_deploy.backends import Backend
from gpsr_deploy.errors import OutOfMemory, OutputUnwritable
from gpsr_deploy.images import Picture
from gpsr_deploy.upscale import Image, Progress, Tiling, Upscaled, upscale

FLAT = 2
"""LR pixels from its edge at which a region of constant alpha is taken as flat."""


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
    """Reads `source`, enlarges it, writes `target`. Raises GpsrError's children; `target` is whole or untouched."""
    begin = time.monotonic()
    warnings = check(source, target, scale=backend.spec.scale, overwrite=overwrite)
    try:
        picture = images.read(source)
        made, sr = enlarge(backend, picture, tiling=tiling, on_progress=on_progress)
    except MemoryError as error:
        raise OutOfMemory("no memory for this picture", remedy="a smaller picture", path=source) from error
    images.write(target, sr, overwrite=overwrite)
    return Result(
        source=source,
        target=target,
        height=sr.pixels.shape[0],
        width=sr.pixels.shape[1],
        tiles=len(made.plan),
        tile=made.plan.tile,
        halo=made.halo,
        seconds=time.monotonic() - begin,
        warnings=picture.warnings + warnings,
    )


def enlarge(
    backend: Backend, picture: Picture, *, tiling: Tiling, on_progress: Progress | None = None
) -> tuple[Upscaled, Picture]:
    """`picture` with its pixels and alpha enlarged, everything else kept.

    Alpha goes through the network as a grey picture, so that its edges are those of the colours; garbage colours under
    full transparency are replaced before, so that nothing of them shows at these edges. What lies FLAT or more LR pixels
    inside a fully opaque or fully transparent region is exactly that.
    """
    alpha = picture.alpha
    if alpha is None:
        made = upscale(backend, picture.pixels, tiling=tiling, on_progress=on_progress)
        return made, replace(picture, pixels=made.sr)
    scale = backend.spec.scale
    varies = bool((alpha != alpha.flat[0]).any())
    passes = 2 if varies else 1
    peak = np.iinfo(alpha.dtype).max
    made = upscale(
        backend, images.bleed(picture.pixels, alpha), tiling=tiling, on_progress=_part(on_progress, 0, passes)
    )
    if varies:
        enlarged: Image = upscale(backend, alpha, tiling=tiling, on_progress=_part(on_progress, 1, passes)).sr
        for value in (0, peak):
            enlarged[_inside(alpha == value).repeat(scale, axis=0).repeat(scale, axis=1)] = value
    else:
        enlarged = np.full((alpha.shape[0] * scale, alpha.shape[1] * scale), alpha.flat[0])
    return made, replace(picture, pixels=made.sr, alpha=enlarged)


def _inside(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels whose neighbourhood of FLAT pixels on each side lies in `region`; beyond the picture is as its edge."""
    for axis in (0, 1):
        pads = [(FLAT, FLAT) if a == axis else (0, 0) for a in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(region, pads, mode="edge"), 2 * FLAT + 1, axis=axis)
        region = np.asarray(windows.all(axis=-1))
    return region


def _part(on_progress: Progress | None, index: int, parts: int) -> Progress | None:
    if on_progress is None:
        return None
    return lambda done, total: on_progress(index * total + done, parts * total)
