"""The only loop over tiles: a picture in, its super-resolution out, whole or by rows. LR pixels become SR pixels only here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy.backends import Backend, infer_each
from gpsr_deploy.errors import ModelRefused, NonFinite, OutOfMemory, UsageError
from gpsr_deploy.machine import available_memory
from gpsr_deploy.spec import Profile
from gpsr_deploy.upscaling import tiles
from gpsr_deploy.upscaling.tiles import Span, TilePlan

Image = NDArray[Any]
"""(H, W, 3) or grey (H, W); uint8, uint16, or float32 in [0, 1]."""

Order = Literal["rgb", "bgr"]
"""Of the channels of an array, in and out."""

Progress = Callable[[int, int], object]
"""Called with (tiles done, tiles in all)."""

Made = TypeVar("Made")

WORKING_MEMORY = 340 << 20
"""Bytes that tiles in work may take when nothing else is asked: with interpreter, runtime and picture codecs under 512 MiB."""

MOST_WORKING_MEMORY = 768 << 20
"""The same where the rest of what a picture may take is spare: with all else under 1.5 GiB."""

SMALLEST_KEEP = 24
"""LR pixels per side that a tile keeps at least: below, almost all work would be overlap."""

MAX_HALVINGS = 6
"""How often a tile is halved when memory runs out."""

_PEAKS: dict[type[np.generic], float] = {np.uint8: 255.0, np.uint16: 65535.0, np.float32: 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How the user wants a picture cut; None: chosen by the network and the memory at hand."""

    tile: tuple[int, int] | None = None
    """(height, width) in LR pixels, halo included; rounded up to what the network and SMALLEST_KEEP need."""
    halo: int | None = None
    """LR pixels of context per side, rounded up likewise; the network's own measured one by default."""
    whole: bool = False
    """The picture in one piece."""
    batch: int | None = None
    """Tiles per run; None: as many as the engine was built for, else one."""

    def __post_init__(self) -> None:
        if (
            (self.batch is not None and self.batch < 1)
            or (self.tile is not None and min(self.tile) < 1)
            or (self.halo is not None and self.halo < 0)
        ):
            raise UsageError(f"tile {self.tile}, overlap {self.halo}, batch {self.batch}", expected="positive sizes")


@dataclass(frozen=True, slots=True)
class Held:
    """Rows of a picture that is in memory."""

    pixels: Image

    def rows(self, start: int, stop: int) -> Image:
        """See Rows."""
        return self.pixels[start:stop]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upscaled:
    """A result and how it was made."""

    sr: Image
    plan: TilePlan
    halo: int


class Rows(Protocol):
    """LR rows of a picture that need not be in memory as a whole."""

    def rows(self, start: int, stop: int) -> Image:
        """Rows [start, stop), as far as the picture goes, in the layout of Image. `start` never goes back."""


def upscale(
    backend: Backend,
    lr: Image,
    *,
    order: Order = "rgb",
    tiling: Tiling | None = None,
    on_progress: Progress | None = None,
) -> Upscaled:
    """`lr` enlarged by the backend's scale, in the same layout and dtype; the result owns its memory.

    Where memory runs out the batch is halved down to one tile, then the tile, up to MAX_HALVINGS times, and the picture
    begun anew, so that the result is that of a run at the smaller tile. Raises UsageError, OutOfMemory, NonFinite or
    ModelRefused.
    """
    _check(lr)
    tiling = tiling or Tiling()
    plan, halo = plan_for(backend, lr.shape[0], lr.shape[1], tiling=tiling)
    sr = _empty_result(lr, backend.spec.scale)
    swapped = order == "bgr" and lr.ndim == 3
    source, target = (lr[:, :, ::-1], sr[:, :, ::-1]) if swapped else (lr, sr)

    def run(plan: TilePlan, at_once: int) -> None:
        strips = upscale_rows(
            backend, [Held(source)], plan, at_once=at_once, memory=lambda rows: [target[rows]], on_progress=on_progress
        )
        for _strip in strips:
            pass

    plan, _ = with_less_memory(backend, plan, run, halo=halo, tiling=tiling)
    return Upscaled(sr=sr, plan=plan, halo=halo)


def upscale_rows(
    backend: Backend,
    layers: Sequence[Rows],
    plan: TilePlan,
    *,
    at_once: int = 1,
    memory: Callable[[slice], Sequence[Image]],
    on_progress: Progress | None = None,
) -> Generator[tuple[slice, Sequence[Image]], None, None]:
    """The SR rows of each row of tiles, from the top: which they are, and the pixels, one array a layer.

    `layers` are pictures of the plan's size that are cut alike, such as colours and alpha. `memory` gives what the rows
    are written to. A run takes `at_once` tiles. Raises as `upscale`, but does not try again with less.
    """
    scale = backend.spec.scale
    tiles_of = [(row, col, layer) for row, col in plan for layer in range(len(layers))]
    groups = [tiles_of[begin : begin + at_once] for begin in range(0, len(tiles_of), at_once)]
    batches = (np.stack([_read(layers[layer], row, col, plan) for row, col, layer in group]) for group in groups)
    done, strip, held = 0, slice(0, 0), list[Image]()
    with contextlib.closing(infer_each(backend, batches)) as every:
        for group in groups:
            results = next(every)
            expected = len(group), 3, plan.tile[0] * scale, plan.tile[1] * scale
            if results.shape != expected:
                raise ModelRefused(f"the network gives {results.shape}", expected=f"{expected}, as its spec says")
            for (row, col, layer), result in zip(group, results, strict=True):
                _require_finite(result, row, col)
                rows = slice(row.keep_start * scale, row.keep_stop * scale)
                if rows != strip:
                    if held:
                        yield strip, held
                    strip, held = rows, list(memory(rows))
                _paste(held[layer], result, row, col, scale)
            del results, result  # before the next run, which needs the memory
            done += len(group)
            if on_progress is not None:
                on_progress(done, len(tiles_of))
    yield strip, held


def with_less_memory(
    backend: Backend,
    plan: TilePlan,
    run: Callable[[TilePlan, int], Made],
    *,
    halo: int,
    tiling: Tiling,
) -> tuple[TilePlan, Made]:
    """What `run` makes of a plan and a number of tiles at once, and that plan: `plan`, or the next smaller that finds memory.

    Raises OutOfMemory where there is none.
    """
    at_once, halvings = _tiles_at_once(backend, tiling), 0
    while True:
        try:
            return plan, run(plan, at_once)
        except (OutOfMemory, MemoryError) as error:
            if at_once > 1:
                at_once = min(at_once, len(plan)) // 2 or 1
                continue
            smaller = None if tiling.whole or halvings == MAX_HALVINGS else _halved(backend, plan, halo=halo)
            if smaller is None:
                found = f"no memory for a tile of {plan.tile[0]}x{plan.tile[1]} LR pixels"
                remedy = (
                    "tiles instead of --no-tile" if tiling.whole else "a smaller picture, or a machine with more memory"
                )
                raise OutOfMemory(found, remedy=remedy) from error
            plan, halvings = smaller, halvings + 1


def plan_for(
    backend: Backend,
    height: int,
    width: int,
    *,
    tiling: Tiling,
    available: int | None = None,
    spare: int = 0,
    max_keep: int | None = None,
) -> tuple[TilePlan, int]:
    """The plan for a picture of this size, and its halo.

    `available` is free memory in bytes, asked of the system by default; `spare` are bytes that the picture might take and
    does not, since its rows are not held: tiles may have them. `max_keep` limits the LR rows that a row of tiles
    keeps, for those who hold a whole row of tiles; as far as the network, the user and the engine leave a choice.
    """
    spec, profile = backend.spec, backend.profile
    step = spec.multiple_of
    halo = spec.halo if tiling.halo is None else tiles.round_up(tiling.halo, step)
    if tiling.whole or spec.tiling == "whole":
        plan, halo = tiles.whole(height, width, multiple_of=step), 0
    else:
        if tiling.tile is not None:
            smallest = tiles.round_up(2 * halo + SMALLEST_KEEP, step)
            tile = (
                max(tiles.round_up(tiling.tile[0], step), smallest),
                max(tiles.round_up(tiling.tile[1], step), smallest),
            )
        elif profile is not None:
            tile = profile.opt
        else:
            free = available_memory() if available is None else available
            budget = min(WORKING_MEMORY + spare, MOST_WORKING_MEMORY)
            budget = budget if free is None else min(budget, free // 2)
            pixels = budget // (backend.bytes_per_pixel * _tiles_at_once(backend, tiling))
            highest = None if max_keep is None else max_keep + (2 * halo if height > 2 * max_keep else halo)
            tile = tiles.fit(
                height,
                width,
                halo=halo,
                multiple_of=step,
                max_pixels=pixels,
                min_keep=SMALLEST_KEEP,
                max_height=highest,
            )
        plan = tiles.plan(height, width, tile=tile, halo=halo, multiple_of=step)
    if profile is not None and not _within(plan, profile):
        raise ModelRefused(
            f"a tile of {plan.tile[0]}x{plan.tile[1]}",
            expected=f"{profile.min[0]}x{profile.min[1]} to {profile.max[0]}x{profile.max[1]}, as the engine was built",
            remedy="another --tile, or an engine of another profile",
        )
    return plan, halo


def _within(plan: TilePlan, profile: Profile | None) -> bool:
    """Whether the profile takes the plan's tiles."""
    return profile is None or profile.takes(plan.tile)


def _tiles_at_once(backend: Backend, tiling: Tiling) -> int:
    """Tiles per run: what is asked for, as far as the profile goes."""
    most = backend.profile.batch if backend.profile is not None else tiling.batch or 1
    return min(tiling.batch or most, most)


def _halved(backend: Backend, plan: TilePlan, *, halo: int) -> TilePlan | None:
    """`plan` with the longer side of its tiles halved; None where that would keep too little or not fit the backend."""
    if backend.spec.tiling == "whole":
        return None
    step = backend.spec.multiple_of
    longer = max(plan.tile)
    half = min(longer, tiles.round_up(max(longer // 2, 2 * halo + SMALLEST_KEEP), step))
    tile = (half, plan.tile[1]) if plan.tile[0] == longer else (plan.tile[0], half)
    smaller = tiles.plan(plan.height, plan.width, tile=tile, halo=halo, multiple_of=step)
    return smaller if tile != plan.tile and _within(smaller, backend.profile) else None


def _check(lr: Image) -> None:
    if lr.dtype.type not in _PEAKS:
        raise UsageError(f"an array of {lr.dtype}", expected="uint8, uint16 or float32")
    if not (lr.ndim == 2 or (lr.ndim == 3 and lr.shape[2] == 3)) or 0 in lr.shape:
        raise UsageError(f"an array of shape {lr.shape}", expected="(H, W, 3) or (H, W)")
    if lr.dtype.type is np.float32:
        low, high = float(lr.min()), float(lr.max())
        if not -1 <= low <= high <= 2:  # false for NaN too; resampled pictures overshoot [0, 1] a little
            raise UsageError(f"values from {low:g} to {high:g}", expected="float32 in [0, 1], or uint8, or uint16")


def _empty_result(lr: Image, scale: int) -> Image:
    """Memory for the result. A smaller tile would not help where there is none: raises OutOfMemory at once."""
    height, width = lr.shape[0] * scale, lr.shape[1] * scale
    try:
        return np.empty((height, width, *lr.shape[2:]), lr.dtype)
    except MemoryError as error:
        raise OutOfMemory(f"no memory for a result of {height}x{width}", remedy="a smaller picture") from error


def _read(layer: Rows, row: Span, col: Span, plan: TilePlan) -> NDArray[np.float32]:
    """One tile, (3, h, w) in [0, 1]; beyond the picture's edge its last pixel is repeated."""
    lines = layer.rows(row.start, row.stop)
    tile = lines[:, col.start : col.stop]
    missing = (row.stop - row.start - tile.shape[0], col.stop - col.start - tile.shape[1])
    if any(missing):
        tile = np.pad(tile, ((0, missing[0]), (0, missing[1]), *((0, 0),) * (tile.ndim - 2)), mode="edge")
    planes = np.broadcast_to(tile[None], (3, *tile.shape)) if tile.ndim == 2 else tile.transpose(2, 0, 1)
    values: NDArray[np.float32] = np.divide(planes, np.float32(_PEAKS[lines.dtype.type]), dtype=np.float32)
    return values


def _require_finite(result: NDArray[np.float32], row: Span, col: Span) -> None:
    """Raises NonFinite with the tile's place. One sum finds any NaN or infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(result.sum(dtype=np.float32))
    if not finite:
        raise NonFinite(
            f"the network gave NaN or infinity in the tile at row {row.start}, column {col.start} (LR pixels)",
            expected="finite pixels",
            remedy="the fp32 model",
        )


def _paste(strip: Image, result: NDArray[np.float32], row: Span, col: Span, scale: int) -> None:
    """Writes the part of one tile that is kept, (3, h, w) in [0, 1], into its row's strip; grey takes the mean of RGB."""
    top, left = (row.keep_start - row.start) * scale, (col.keep_start - col.start) * scale
    height, width = (row.keep_stop - row.keep_start) * scale, (col.keep_stop - col.keep_start) * scale
    kept = result[:, top : top + height, left : left + width]
    planes = kept.mean(axis=0, dtype=np.float32)[None] if strip.ndim == 2 else kept
    there = strip[:, col.keep_start * scale : col.keep_stop * scale]
    if strip.ndim == 2:
        there = there[:, :, None]
    peak = _PEAKS[strip.dtype.type]
    for channel, plane in enumerate(planes):
        values = np.clip(plane, np.float32(0), np.float32(1))
        if strip.dtype.type is not np.float32:
            values *= np.float32(peak)
            values += np.float32(0.5)
        there[:, :, channel] = values  # integers take the whole part, which with the half added is rounding
