"""The comparison of two ways to run one network: how far their pictures are apart, and whether that is near enough."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy import samples
from gpsr_deploy.backends import Backend
from gpsr_deploy.errors import NonFinite
from gpsr_deploy.media import images
from gpsr_deploy.spec import Dtype
from gpsr_deploy.upscaling.upscale import SMALLEST_KEEP, Tiling, upscale

Pixels = NDArray[np.float32]
"""(H, W, 3) RGB in [0, 1], or a little outside."""

MIN_PSNR_DB: dict[Dtype, float] = {"fp32": 100.0, "fp16": 60.0, "int8": 40.0}
"""What a runtime has to reach against the reference, by the type that the network computes in."""

MAX_LEVEL: dict[Dtype, int] = {"fp32": 1, "fp16": 1, "int8": 8}
"""8-bit levels that a pixel may be off: an activation that lies between two steps of int8 may go to either."""

TILED_SHARE = 1e-3
"""Largest share of pixels that cutting a picture into tiles may change, and those by one level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far two results of the same pictures are apart, over all of them."""

    images: int
    max_difference: float
    """Of values in [0, 1], over the finite ones."""
    psnr_db: float
    """Over all channels, peak 1; infinite where all are equal."""
    max_level: int
    """Largest difference of 8-bit levels; 255 where a value is not finite."""
    share_off_by_one: float
    """Share of pixels of which a channel is off by one 8-bit level or more."""
    non_finite: int
    """Places where one of the results is NaN or infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far apart is near enough."""

    min_psnr_db: float = 0.0
    max_level: int = 1
    max_share: float = 1.0
    """Of pixels off by one."""

    def accepts(self, agreement: Agreement) -> bool:
        """Whether an agreement is within every limit; one with a value that is not finite never is."""
        return (
            agreement.images > 0
            and agreement.non_finite == 0
            and agreement.psnr_db >= self.min_psnr_db
            and agreement.max_level <= self.max_level
            and agreement.share_off_by_one <= self.max_share
        )


def tolerance_of(dtype: Dtype) -> Tolerance:
    """What a runtime has to keep within, by the type that the network computes in."""
    return Tolerance(min_psnr_db=MIN_PSNR_DB[dtype], max_level=MAX_LEVEL[dtype])


@dataclass(slots=True, kw_only=True)
class Comparison:
    """Results against each other, picture by picture; remembers the picture that is furthest apart."""

    images: int = 0
    values: int = 0
    squares: float = 0.0
    pixels: int = 0
    changed: int = 0
    max_difference: float = 0.0
    max_level: int = 0
    non_finite: int = 0
    worst: tuple[Pixels, Pixels] | None = field(default=None, repr=False)
    """(found, wanted) of the picture with the largest difference, if there is any."""

    def add(self, found: Pixels, wanted: Pixels) -> None:
        """Takes one picture in; a value that is not finite in either counts. A shape that differs is a ValueError."""
        if found.shape != wanted.shape:
            raise ValueError(f"results of {found.shape} and {wanted.shape}")
        finite = np.isfinite(found) & np.isfinite(wanted)
        with np.errstate(invalid="ignore"):
            difference = np.where(finite, found.astype(np.float64) - wanted, 0.0)
        levels = np.where(finite, np.abs(_levels(found) - _levels(wanted)), 255)
        largest, broken = float(np.abs(difference).max(initial=0.0)), int((~finite).sum())
        if broken or largest > self.max_difference:
            self.worst = (found, wanted)
        self.images += 1
        self.values += found.size
        self.squares += float((difference**2).sum())
        self.pixels += found.size // 3
        self.changed += int(levels.any(axis=2).sum())
        self.max_difference = max(self.max_difference, largest)
        self.max_level = max(self.max_level, int(levels.max(initial=0)))
        self.non_finite += broken

    def agreement(self) -> Agreement:
        """What was found so far."""
        error = self.squares / max(self.values, 1)
        return Agreement(
            images=self.images,
            max_difference=self.max_difference,
            psnr_db=math.inf if error == 0 else -10 * math.log10(error),
            max_level=self.max_level,
            share_off_by_one=self.changed / max(self.pixels, 1),
            non_finite=self.non_finite,
        )


def compare(found: Iterable[Pixels], wanted: Iterable[Pixels]) -> Comparison:
    """Pictures against each other, in pairs."""
    comparison = Comparison()
    for one, other in zip(found, wanted, strict=True):
        comparison.add(one, other)
    return comparison


def backends(judged: Backend, reference: Backend, pictures: Sequence[Pixels]) -> Comparison:
    """One network in two runtimes, each picture in one piece. Values that are not finite are counted, not raised."""
    return compare((whole(judged, lr) for lr in pictures), (whole(reference, lr) for lr in pictures))


def on_photographs(judged: Backend, reference: Backend, sizes: Sequence[tuple[int, int]]) -> Comparison:
    """One network in two runtimes: on the photographs that ship, cut to each of `sizes` (height, width) in LR pixels.

    Two of them at once come on top, at the first size, where the judged one takes two.
    """
    comparison = backends(judged, reference, [lr for size in sizes for lr in photographs(size)])
    if judged.profile is None or judged.profile.batch > 1:
        pair = np.stack([padded(lr, judged.spec.multiple_of) for lr in photographs(sizes[0])[:2]])
        for found, wanted in zip(judged.infer(pair), reference.infer(pair), strict=True):
            comparison.add(found.transpose(1, 2, 0), wanted.transpose(1, 2, 0))
    return comparison


def tiling(backend: Backend, pictures: Sequence[Pixels]) -> Comparison:
    """Pictures cut into the smallest tiles there are, with the network's own halo, against the same in one piece."""
    side = 2 * backend.spec.halo + SMALLEST_KEEP
    tile = (side, side) if backend.profile is None else backend.profile.nearest((side, side))

    def tiled(lr: Pixels) -> Pixels:
        try:
            return upscale(backend, lr, tiling=Tiling(tile=tile)).sr
        except NonFinite:  # which is counted here like any other difference
            scale = backend.spec.scale
            return np.full((lr.shape[0] * scale, lr.shape[1] * scale, 3), np.nan, np.float32)

    return compare(map(tiled, pictures), (whole(backend, lr) for lr in pictures))


def whole(backend: Backend, lr: Pixels) -> Pixels:
    """A picture in one piece, padded to what the network takes; unlike `upscale`, with whatever is not finite in it."""
    height, width = lr.shape[:2]
    scale = backend.spec.scale
    result = backend.infer(padded(lr, backend.spec.multiple_of)[None])
    cropped: Pixels = result[0].transpose(1, 2, 0)[: height * scale, : width * scale]
    return cropped


def padded(lr: Pixels, multiple_of: int) -> Pixels:
    """(H, W, 3) -> (3, H, W), both sides rounded up by repeating the edge."""
    beyond = [(0, -side % multiple_of) for side in lr.shape[:2]]
    return np.ascontiguousarray(np.pad(lr, (*beyond, (0, 0)), mode="edge").transpose(2, 0, 1), dtype=np.float32)


def photographs(size: tuple[int, int]) -> list[Pixels]:
    """The middle of each photograph that ships, mirrored where it is too small; `size` is (height, width)."""
    found = []
    for path in samples.photographs():
        pixels = images.read(path).pixels
        lacks = [max(wanted - there, 0) for wanted, there in zip(size, pixels.shape[:2], strict=True)]
        cut = middle(pixels, size)
        found.append(np.pad(cut, ((0, lacks[0]), (0, lacks[1]), (0, 0)), mode="symmetric"))
    return found


def middle(pixels: images.Samples, size: tuple[int, int]) -> Pixels:
    """At most `size` around the middle of a picture, (H, W, 3) or grey (H, W), as floats."""
    height, width = (min(wanted, there) for wanted, there in zip(size, pixels.shape[:2], strict=True))
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    cut = pixels[top : top + height, left : left + width].astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return np.repeat(cut[:, :, None], 3, axis=2) if cut.ndim == 2 else cut


def picture_of_worst(comparison: Comparison, *, side: int = 192) -> NDArray[np.uint8] | None:
    """Where two results are furthest apart: wanted, found, and their difference scaled to full range, side by side.

    (H, 3 * W, 3) of at most `side` SR pixels a side around the worst pixel; None where all are equal.
    """
    if comparison.worst is None:
        return None
    found, wanted = comparison.worst
    difference = np.abs(np.nan_to_num(found.astype(np.float64) - wanted, nan=np.inf))
    row, column, _ = np.unravel_index(int(difference.argmax()), difference.shape)
    top, left = (
        max(0, min(int(at) - side // 2, size - side)) for at, size in ((row, found.shape[0]), (column, found.shape[1]))
    )
    window = slice(top, top + side), slice(left, left + side)
    shown = np.minimum(difference[window], 1.0)
    parts = (wanted[window], np.nan_to_num(found[window]), shown / max(shown.max(), 1e-12))
    return np.concatenate([_levels(np.asarray(part, np.float32)) for part in parts], axis=1).astype(np.uint8)


def _levels(values: Pixels) -> NDArray[np.int16]:
    with np.errstate(invalid="ignore"):
        levels: NDArray[np.int16] = (np.nan_to_num(np.clip(values, 0, 1)) * 255 + 0.5).astype(np.int16)
    return levels
