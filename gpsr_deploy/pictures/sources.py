"""Where the LR rows of a picture come from, its file or memory, and what becomes of its alpha."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy.media import images
from gpsr_deploy.media.images import Outline, Surveyed
from gpsr_deploy.upscaling.upscale import Held, Image, Rows

FLAT = 2
"""LR pixels from its edge at which a region of constant alpha is taken as flat."""


class Picture(Protocol):
    """Where the LR rows of a picture come from, and what becomes of its alpha."""

    @property
    def outline(self) -> Outline:
        """LR sizes, and what stands beside the pixels."""

    def layers(self) -> AbstractContextManager[Sequence[Rows]]:
        """The pictures that the network is to enlarge, from their tops: the colours, and alpha where it varies."""

    def alpha(self, rows: slice, scale: int, *enlarged: Image) -> Image | None:
        """Rows of SR alpha, where the picture has it, given what the network made of it, if it was a layer."""


def opened(source: Path) -> Picture:
    """The picture in `source`, found whole. Raises InputUnreadable or OutOfMemory."""
    surveyed = images.survey(source)
    return _InMemory(images.read(source)) if surveyed is None else _OnDisk(source, surveyed)


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """Read by rows while they are enlarged; without alpha."""

    source: Path
    surveyed: Surveyed

    @property
    def outline(self) -> Outline:
        """See Picture."""
        return self.surveyed.outline

    @contextlib.contextmanager
    def layers(self) -> Iterator[Sequence[Rows]]:
        """See Picture."""
        with images.open_rows(self.source, self.surveyed) as reader:
            yield [reader]

    def alpha(self, rows: slice, scale: int, *enlarged: Image) -> Image | None:
        """See Picture."""
        return None


class _InMemory:
    """A picture whose rows cannot be read in order, or not enlarged without knowing others: all of LR is held.

    Alpha goes through the network as a grey picture, so that its edges are those of the colours; garbage colours under
    full transparency are replaced before, so that nothing of them shows at these edges. What lies FLAT or more LR pixels
    inside a fully opaque or fully transparent region is exactly that.
    """

    def __init__(self, picture: images.Picture) -> None:
        self.outline = picture.outline
        self._alpha = picture.alpha
        self._varies = picture.alpha is not None and bool((picture.alpha != picture.alpha.flat[0]).any())
        self._pixels = picture.pixels if picture.alpha is None else images.bleed(picture.pixels, picture.alpha)

    @contextlib.contextmanager
    def layers(self) -> Iterator[Sequence[Rows]]:
        """See Picture."""
        yield [Held(self._pixels), *([Held(self._alpha)] if self._alpha is not None and self._varies else [])]

    def alpha(self, rows: slice, scale: int, *enlarged: Image) -> Image | None:
        """See Picture."""
        alpha = self._alpha
        if alpha is None:
            return None
        if not self._varies:
            return np.full((rows.stop - rows.start, alpha.shape[1] * scale), alpha.flat[0])
        (sr,) = enlarged
        top, bottom = rows.start // scale, rows.stop // scale
        above, below = max(top - FLAT, 0), min(bottom + FLAT, alpha.shape[0])
        for value in (0, np.iinfo(alpha.dtype).max):
            inside = _inside(alpha[above:below] == value)[top - above : bottom - above]
            sr[inside.repeat(scale, axis=0).repeat(scale, axis=1)] = value
        return sr


def _inside(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels whose neighbourhood of FLAT pixels on each side lies in `region`; beyond the picture is as its edge."""
    for axis in (0, 1):
        pads = [(FLAT, FLAT) if a == axis else (0, 0) for a in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(region, pads, mode="edge"), 2 * FLAT + 1, axis=axis)
        region = np.asarray(windows.all(axis=-1))
    return region
