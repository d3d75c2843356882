"""Patches: which ones a step sees, as a pure function of (seed, index), and how they are cut where the pictures live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data import Photograph

WORDS = 4
"""64-bit random words per sample: one block of Philox. They choose picture, top, left, and flips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placements:
    """Where samples lie: arrays of one number each."""

    picture: NDArray[np.int64]
    top: NDArray[np.int64]
    """LR pixels."""
    left: NDArray[np.int64]
    """LR pixels."""
    turn: NDArray[np.int64]
    """Which of the eight flips and rotations: bit 0 mirrors top to bottom, bit 1 left to right, bit 2 then transposes."""


def place(*, seed: int, first: int, count: int, sizes: NDArray[np.int64], patch: int) -> Placements:
    """Samples number `first` to `first + count - 1`, on pictures of LR `sizes`, (n, 2), each at least `patch`.

    A sample depends on its number and the seed alone: sample k is made of block k of the counter-based generator Philox.
    """
    words = np.random.Philox(key=seed, counter=first).random_raw(WORDS * count).reshape(count, WORDS) >> np.uint64(32)

    def below(bound: NDArray[np.int64] | int, column: int) -> NDArray[np.int64]:
        """Uniform in 0 .. bound - 1: the upper half of a product of 32-bit numbers."""
        return (words[:, column] * np.asarray(bound, np.uint64) >> np.uint64(32)).astype(np.int64)

    picture = below(len(sizes), 0)
    return Placements(
        picture=picture,
        top=below(sizes[picture, 0] - patch + 1, 1),
        left=below(sizes[picture, 1] - patch + 1, 2),
        turn=below(8, 3),
    )


class Patches:
    """All training pictures as two arrays of bytes on one device, from which a step's patches are gathered at once."""

    def __init__(self, photographs: Sequence[Photograph], *, scale: int, patch: int, device: torch.device) -> None:
        self.scale, self.patch, self.device = scale, patch, device
        self.sizes = np.array([photograph.lr.shape[1:] for photograph in photographs], np.int64)
        ends = np.cumsum(3 * self.sizes.prod(axis=1))
        self.starts = np.concatenate([[0], ends[:-1]])  # of LR; those of HR are scale * scale times as far
        self.lr = torch.empty(int(ends[-1]), dtype=torch.uint8, device=device)
        self.hr = torch.empty(int(ends[-1]) * scale * scale, dtype=torch.uint8, device=device)
        for photograph, start in zip(photographs, self.starts.tolist(), strict=True):
            for buffer, pixels, begin in (
                (self.lr, photograph.lr, start),
                (self.hr, photograph.hr, start * scale * scale),
            ):
                buffer[begin : begin + pixels.numel()] = pixels.flatten()

    def batch(self, *, seed: int, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Samples number `first` and on: LR (count, 3, patch, patch) and HR, float32 in [0, 1], on the device."""
        placed = place(seed=seed, first=first, count=count, sizes=self.sizes, patch=self.patch)
        return self._cut(self.lr, placed, 1), self._cut(self.hr, placed, self.scale)

    def _cut(self, buffer: Tensor, placed: Placements, scale: int) -> Tensor:
        """Gathers the patches from planar pictures `scale` times as large as LR."""
        side = self.patch * scale
        heights, widths = (self.sizes[placed.picture] * scale).T
        forth = np.arange(side)
        rows = np.where(placed.turn[:, None] & 1, side - 1 - forth, forth)  # (count, side): a flip reads backwards
        columns = np.where(placed.turn[:, None] & 2, side - 1 - forth, forth)
        down = (placed.top[:, None] * scale + rows) * widths[:, None]  # offsets in the picture's plane
        along = placed.left[:, None] * scale + columns
        transposed = (placed.turn[:, None] & 4) > 0
        down, along = np.where(transposed, along, down), np.where(transposed, down, along)
        planes = (self.starts[placed.picture] * scale * scale)[:, None] + np.arange(3) * (heights * widths)[:, None]
        offsets = [torch.from_numpy(part).to(self.device, non_blocking=True) for part in (planes, down, along)]
        index = offsets[0][:, :, None, None] + offsets[1][:, None, :, None] + offsets[2][:, None, None, :]
        return torch.take(buffer, index) / 255.0
