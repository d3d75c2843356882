"""What a picture is, in memory and as a file says: values, no decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

InputFormat = Literal["png", "jpeg", "webp", "tiff", "gif"]
Depth = Literal[8, 16]
"""Bits per sample."""
Samples = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a picture will be once it is read."""

    format: InputFormat
    """By content; the file's name says nothing."""
    height: int
    """Pixels, after EXIF orientation."""
    width: int
    """Pixels, after EXIF orientation."""
    grey: bool
    """One colour channel, not three."""
    has_alpha: bool
    has_exif: bool
    depth: Depth
    frames: int
    """Frames or pages in the file, of which the first is read."""
    orientation: int
    """EXIF orientation as stored, 1 to 8: what `read` undoes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A picture but for its samples: their shape, and what stands beside them."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    grey: bool
    """One colour channel, not three."""
    has_alpha: bool
    depth: Depth
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    resolution: tuple[float, float]
    """As in Picture."""
    warnings: tuple[str, ...] = ()
    """As in Picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Upright pixels with what belongs to them. Arrays that do not fit each other are a ValueError."""

    pixels: Samples
    """(H, W, 3) RGB or (H, W) grey, full range of uint8 or uint16, not premultiplied by alpha."""
    alpha: Samples | None = None
    """(H, W) of the type of `pixels`; 0 is transparent."""
    icc: bytes | None = None
    """Colour profile of `pixels`."""
    exif: bytes | None = None
    """EXIF block with orientation 1."""
    xmp: bytes | None = None
    resolution: tuple[float, float] = (1.0, 1.0)
    """Pixels per millimetre, vertical and horizontal; 1.0 where nothing is known."""
    format: InputFormat | None = None
    """Format of the file that the picture came from, if any."""
    warnings: tuple[str, ...] = ()
    """What reading dropped, converted or passed over, one clause each."""

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype not in (np.uint8, np.uint16) or self.pixels.size == 0 or not (len(shape) == 2 or shape[2:] == (3,)):
            raise ValueError(f"pixels are {dtype} {shape}, expected (H, W) or (H, W, 3) of uint8 or uint16")
        if self.alpha is not None and (self.alpha.shape, self.alpha.dtype) != (shape[:2], dtype):
            raise ValueError(f"alpha is {self.alpha.dtype} {self.alpha.shape}, pixels are {dtype} {shape}")

    @property
    def depth(self) -> Depth:
        """Bits per sample."""
        return 8 if self.pixels.dtype == np.uint8 else 16

    @property
    def outline(self) -> Outline:
        """All but the samples."""
        return Outline(
            height=self.pixels.shape[0],
            width=self.pixels.shape[1],
            grey=self.pixels.ndim == 2,
            has_alpha=self.alpha is not None,
            depth=self.depth,
            icc=self.icc,
            exif=self.exif,
            xmp=self.xmp,
            resolution=self.resolution,
            warnings=self.warnings,
        )
