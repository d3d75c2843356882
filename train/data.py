"""Photographs for training: decoded once, kept as 8-bit HR and LR; a sample is a pure function of (seed, index)."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips
import torch
from torch import Tensor

from degradations import imresize, to_8_bit

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One picture as HR and its LR, both (3, H, W) uint8; HR is cropped to a multiple of the scale."""

    name: str
    hr: Tensor
    lr: Tensor


def read_photographs(source: Path, *, scale: int, shards: slice = slice(None)) -> tuple[list[Photograph], list[str]]:
    """All pictures of `source` (a folder of pictures, or of tar shards of which `shards` are taken), and the names of
    those that could not be decoded. Pictures are in the order of their names, so that a sample's index means the same
    everywhere.
    """
    decoded = [_photograph(name, encoded, scale) for name, encoded in _entries(source, shards)]
    return [found for found in decoded if isinstance(found, Photograph)], [
        bad for bad in decoded if isinstance(bad, str)
    ]


def _entries(source: Path, shards: slice) -> Iterator[tuple[str, bytes]]:
    archives = sorted(source.glob("*.tar"))
    if not archives:
        for path in sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES):
            yield path.name, path.read_bytes()
    for archive in archives[shards]:
        with tarfile.open(archive) as tar:
            for member in sorted((m for m in tar.getmembers() if m.isfile()), key=lambda m: m.name):
                extracted = tar.extractfile(member)
                if extracted is not None and Path(member.name).suffix.lower() in SUFFIXES:
                    yield member.name, extracted.read()


def _photograph(name: str, encoded: bytes, scale: int) -> Photograph | str:
    try:
        pixels = (
            pyvips.Image.new_from_buffer(encoded, "", fail_on="error").colourspace("srgb")[:3].cast("uchar").numpy()
        )
    except pyvips.Error:
        return name
    if min(pixels.shape[:2]) < scale:
        return name
    height, width = pixels.shape[0] // scale * scale, pixels.shape[1] // scale * scale
    hr = torch.from_numpy(np.ascontiguousarray(pixels[:height, :width].transpose(2, 0, 1)))
    return Photograph(name=name, hr=hr, lr=to_8_bit(imresize(hr[None] / 255.0, scale))[0])


def sample_batch(
    photographs: list[Photograph], *, seed: int, step: int, batch: int, patch: int, scale: int
) -> tuple[Tensor, Tensor]:
    """Batch number `step`: LR (batch, 3, patch, patch) and HR, float32 in [0, 1], cropped, flipped and rotated at random."""
    lrs, hrs = [], []
    for index in range(step * batch, (step + 1) * batch):
        random = np.random.default_rng((seed, index))
        photograph = photographs[random.integers(len(photographs))]
        top = int(random.integers(photograph.lr.shape[1] - patch + 1))
        left = int(random.integers(photograph.lr.shape[2] - patch + 1))
        lr = photograph.lr[:, top : top + patch, left : left + patch]
        hr = photograph.hr[:, top * scale : (top + patch) * scale, left * scale : (left + patch) * scale]
        turns, mirrored = int(random.integers(4)), bool(random.integers(2))
        for patches, pixels in ((lrs, lr), (hrs, hr)):
            turned = torch.rot90(pixels, turns, (1, 2))
            patches.append(turned.flip(2) if mirrored else turned)
    return torch.stack(lrs) / 255.0, torch.stack(hrs) / 255.0
