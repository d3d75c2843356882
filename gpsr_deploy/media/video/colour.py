"""Planes of a frame to RGB and back: matrices, ranges, depths, chroma layouts and where chroma sits. Pure numpy.

libswscale is not used for this: between 10-bit YUV and RGB it was measured to be off by up to four levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy.errors import InputUnreadable

Plane = NDArray[Any]
"""(H, W); uint8 for 8 bits, else uint16 with the value in the low bits."""

Planes = tuple[Plane, ...]
"""Y, Cb, Cr; or Y alone; or R, G, B."""

Matrix = Literal["601", "709", "2020", "240m", "fcc", "rgb"]
"""Matrix coefficients of ITU-T H.273; "2020" is the non-constant luminance one, "rgb" is none at all."""

Siting = Literal["left", "centre", "top-left"]
"""Where a chroma sample lies among the luma samples that share it (H.273: types 0, 1 and 2)."""

WEIGHTS: dict[str, tuple[float, float]] = {
    "601": (0.299, 0.114),
    "709": (0.2126, 0.0722),
    "2020": (0.2627, 0.0593),
    "240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}
"""Of red and blue in luma, by matrix: K_R and K_B of H.273, table 4."""

PEAK = 65535
"""Of the RGB in between: 16 bits, so that frames of 8 to 12 bits are rounded once, at the end."""

_STRIP = 1 << 16  # pixels at a time: what is computed with them stays in a core's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How the numbers in a frame's planes mean colours."""

    matrix: Matrix
    full: bool
    """Whether the range is full (0 to 2^bits - 1) or limited (16 to 235, chroma 16 to 240, times 2^(bits - 8))."""
    bits: int
    chroma: tuple[int, int] | None = (2, 2)
    """Luma samples (down, across) for each of chroma, 1 or 2; None: there is no chroma."""
    siting: Siting = "left"

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 16 or (self.matrix == "rgb" and self.chroma != (1, 1)):
            raise InputUnreadable(f"frames of {self.bits} bits, chroma {self.chroma}", expected="8 to 16 bits")

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Of a plane."""
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def top(self) -> int:
        """The largest number in a plane."""
        return (1 << self.bits) - 1

    def sizes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """(height, width) of each plane; chroma of odd sizes is rounded up."""
        if self.chroma is None:
            return ((height, width),)
        down, across = self.chroma
        smaller = -(-height // down), -(-width // across)
        return ((height, width), smaller, smaller)

    def frame_bytes(self, height: int, width: int) -> int:
        """Of all planes together."""
        return sum(rows * columns for rows, columns in self.sizes(height, width)) * np.dtype(self.dtype).itemsize


def to_rgb(planes: Planes, coding: Coding) -> NDArray[np.uint16]:
    """The frame as (H, W, 3) RGB of 0 to PEAK. Colours that lie outside RGB, and sync levels, are clipped.

    Chroma between its samples is interpolated linearly from where they sit.
    """
    height, width = planes[0].shape
    rgb = np.empty((height, width, 3), np.uint16)
    if coding.matrix == "rgb":
        for channel, plane in enumerate(planes):
            _store(plane.astype(np.float32) * np.float32(PEAK / coding.top), rgb[:, :, channel], PEAK)
        return rgb
    black, luma_span, neutral, chroma_span = _levels(coding)
    luma = (planes[0].astype(np.float32) - np.float32(black)) * np.float32(PEAK / luma_span)
    if coding.chroma is None:
        _store(luma, rgb[:, :, 0], PEAK)
        rgb[:, :, 1:] = rgb[:, :, :1]
        return rgb
    chroma_scale = np.float32(PEAK / chroma_span)
    blue_difference, red_difference = (
        _upsampled((plane.astype(np.float32) - np.float32(neutral)) * chroma_scale, coding, height, width)
        for plane in planes[1:]
    )
    red_weight, blue_weight = WEIGHTS[coding.matrix]
    green_weight = 1 - red_weight - blue_weight
    red, blue = 2 * (1 - red_weight), 2 * (1 - blue_weight)
    _store(luma + red_difference * np.float32(red), rgb[:, :, 0], PEAK)
    _store(luma + blue_difference * np.float32(blue), rgb[:, :, 2], PEAK)
    red_difference *= np.float32(red * red_weight / green_weight)
    blue_difference *= np.float32(blue * blue_weight / green_weight)
    luma -= red_difference
    luma -= blue_difference
    _store(luma, rgb[:, :, 1], PEAK)
    return rgb


def to_planes(rgb: NDArray[np.uint16], coding: Coding) -> Planes:
    """The planes of a frame from (H, W, 3) RGB of 0 to PEAK: the inverse of `to_rgb`, rounded once."""
    height, width = rgb.shape[:2]
    planes = tuple(np.empty(size, coding.dtype) for size in coding.sizes(height, width))
    rows = max(2, _STRIP // width // 2 * 2)
    for top in range(0, height, rows):
        _fill_strip(rgb, planes, coding, top, min(top + rows, height))
    return planes


def _fill_strip(rgb: NDArray[np.uint16], planes: Planes, coding: Coding, top: int, bottom: int) -> None:
    """Rows `top` (even) to `bottom` of all planes."""
    if coding.matrix == "rgb":
        for channel, plane in enumerate(planes):
            values = rgb[top:bottom, :, channel] * np.float32(coding.top / PEAK)
            _store(values, plane[top:bottom], coding.top)
        return
    cosited = coding.siting == "top-left" and coding.chroma is not None and coding.chroma[0] == 2
    lead = 1 if cosited and top else 0  # the row above belongs to the first chroma row's filter
    red, green, blue = (rgb[top - lead : bottom, :, channel].astype(np.float32) for channel in range(3))
    red_weight, blue_weight = WEIGHTS[coding.matrix]
    black, luma_span, neutral, chroma_span = _levels(coding)
    green *= np.float32(1 - red_weight - blue_weight)
    green += red * np.float32(red_weight)
    green += blue * np.float32(blue_weight)
    luma = green
    if coding.chroma is not None:
        rows = slice(top // coding.chroma[0], -(-bottom // coding.chroma[0]))
        for difference, weight, plane in ((blue, blue_weight, planes[1]), (red, red_weight, planes[2])):
            difference -= luma
            if coding.chroma[1] == 2:
                difference = _halved(difference, axis=1, cosited=coding.siting != "centre")
            if coding.chroma[0] == 2:
                difference = _halved(difference, axis=0, cosited=cosited, lead=lead)
            difference *= np.float32(chroma_span / PEAK / (2 * (1 - weight)))
            difference += np.float32(neutral)
            _store(difference, plane[rows], coding.top)
    luma = luma[lead:]
    luma *= np.float32(luma_span / PEAK)
    luma += np.float32(black)
    _store(luma, planes[0][top:bottom], coding.top)


def _levels(coding: Coding) -> tuple[int, int, int, int]:
    """Black, the span of luma, neutral chroma, the span of chroma (H.273, equations 20 to 28)."""
    step = 1 << (coding.bits - 8)
    if coding.full:
        return 0, coding.top, 128 * step, coding.top
    return 16 * step, 219 * step, 128 * step, 224 * step


def _store(values: NDArray[np.float32], target: Plane, top: int) -> None:
    """Rounds and clips `values` to 0 to `top`; they are spent."""
    values += np.float32(0.5)
    np.clip(values, np.float32(0), np.float32(top), out=values)
    target[...] = values  # the whole part, which with the half added is rounding


def _upsampled(chroma: NDArray[np.float32], coding: Coding, height: int, width: int) -> NDArray[np.float32]:
    """Chroma at every luma sample."""
    assert coding.chroma is not None
    if coding.chroma[0] == 2:
        chroma = _doubled(chroma, height, axis=0, cosited=coding.siting == "top-left")
    if coding.chroma[1] == 2:
        chroma = _doubled(chroma, width, axis=1, cosited=coding.siting != "centre")
    return chroma


def _doubled(values: NDArray[np.float32], length: int, *, axis: int, cosited: bool) -> NDArray[np.float32]:
    """Linear interpolation to `length` samples: every second at one of `values`, or a quarter of a step beside it."""
    values = np.moveaxis(values, axis, 0)
    result = np.empty((length, *values.shape[1:]), np.float32)
    following = np.concatenate([values[1:], values[-1:]])
    if cosited:
        result[0::2] = values
        odd = (values + following) * np.float32(0.5)
    else:
        before = np.concatenate([values[:1], values[:-1]])
        near = values * np.float32(0.75)
        result[0::2] = near + before * np.float32(0.25)
        odd = near + following * np.float32(0.25)
    result[1::2] = odd[: length // 2]
    return np.moveaxis(result, 0, axis)


def _halved(values: NDArray[np.float32], *, axis: int, cosited: bool, lead: int = 0) -> NDArray[np.float32]:
    """Every second sample after the first `lead`: 1 2 1 around it, or the mean of it and the next; the edge repeats."""
    values = np.moveaxis(values, axis, 0)
    here, after = values[lead::2], values[lead + 1 :: 2]
    if len(after) < len(here):
        after = np.concatenate([after, here[-1:]])
    if cosited:
        before = values[0::2][: len(here)] if lead else np.concatenate([here[:1], after[:-1]])
        result = here * np.float32(2)
        result += before
        result += after
        result *= np.float32(0.25)
    else:
        result = here + after
        result *= np.float32(0.5)
    return np.moveaxis(result, 0, axis)
