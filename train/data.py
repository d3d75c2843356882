"""Photographs from a folder, from tar shards or from DIV2K as downloaded: which ones, decoded once, as 8-bit HR and LR."""

from __future__ import annotations

import hashlib
import lzma
import mmap
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from degradations import Degradation, degrade, to_8_bit
from gpsr_deploy import machine
from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media import images

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"}

VALIDATION_PICTURES = 32
VALIDATION_SIDE = 480
"""HR pixels per side to which validation pictures are cut, around their middle: 2K pictures would take minutes on a CPU."""

EVERY_NTH_VALIDATES = 20
"""Of a folder of pictures."""

AT_ONCE = 64
"""Encoded pictures held in memory while they are decoded in parallel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One picture as HR and its LR, both (3, H, W) uint8; HR is cropped to a multiple of the scale."""

    name: str
    hr: Tensor
    lr: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The pictures of a run, in the order of their names, so that a sample's index means the same everywhere."""

    training: list[Photograph]
    validation: list[Photograph]
    left_out: list[str]
    """Names of what cannot be decoded or is too small."""

    @property
    def fingerprint(self) -> str:
        """What the training pictures are, and in which order: their number, and SHA-256 over their file names and sizes."""
        sizes = [(Path(photograph.name).name, *photograph.hr.shape[1:]) for photograph in self.training]
        return f"{len(sizes)} pictures, {hashlib.sha256(repr(sizes).encode()).hexdigest()}"


def read_split(
    data: Path,
    *,
    scale: int,
    degradation: Degradation = "bi",
    smallest: int = 1,
    validation: Path | None = None,
    device: torch.device | None = None,
) -> Split:
    """Decodes `data`, and keeps pictures for validation apart; LR is made on `device`, where the pictures stay.

    `data` is a picture archive (.tar, .zip), a folder of pictures, of tar shards, or with DIV2K as downloaded
    (`DIV2K_train_HR` or `DIV2K_train_HR.zip`, whatever else lies there). Validation takes `validation`, which is one of
    these as well, else DIV2K's own `DIV2K_valid_HR`, else the last shard, else every 20th picture. Pictures whose LR has
    a side under `smallest` are left out. Raises InputUnreadable where either kind is empty.
    """
    training, validating = _sources(data, validation)
    left_out: list[str] = []

    def photographs(sources: list[Path], *, side: int | None) -> list[Photograph]:
        found = []
        for name, pixels in _decoded(sources):
            made = None if pixels is None else _photograph(name, pixels, scale, degradation, side, device)
            if made is None or min(made.lr.shape[1:]) < smallest:
                left_out.append(name)
            else:
                found.append(made)
        return found

    train = photographs(training, side=None)
    if validating:
        valid = photographs(validating, side=VALIDATION_SIDE)
    else:
        valid = [_middle(photograph, scale) for photograph in train[::EVERY_NTH_VALIDATES]]
        train = [photograph for index, photograph in enumerate(train) if index % EVERY_NTH_VALIDATES]
    if not train or not valid:
        raise InputUnreadable(
            f"{len(train)} pictures for training, {len(valid)} for validation"
            + (f"; {len(left_out)} cannot be decoded or are too small" if left_out else ""),
            expected="a folder of at least 2 pictures, or of 2 tar shards, or DIV2K as downloaded",
            path=data,
        )
    return Split(training=train, validation=valid[:VALIDATION_PICTURES], left_out=left_out)


def _sources(data: Path, validation: Path | None) -> tuple[list[Path], list[Path]]:
    """Folders and archives (for training, for validation); none for validation where training gives some away."""
    downloaded, shards = _named(data, "DIV2K_train_HR"), _shards(data)
    if validation:
        valid = _named(validation, "DIV2K_valid_HR")
        return [downloaded] if downloaded else shards or [data], [valid] if valid else _shards(validation) or [
            validation
        ]
    if downloaded:
        valid = _named(data, "DIV2K_valid_HR")
        return [downloaded], [valid] if valid else []
    return (shards[:-1], shards[-1:]) if shards else ([data], [])


def _named(folder: Path, name: str) -> Path | None:
    """The folder or zip of that name in `folder`, if there is one."""
    return next((path for path in (folder / name, folder / f"{name}.zip") if path.exists()), None)


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar")) if folder.is_dir() else []


def _decoded(sources: list[Path]) -> Iterator[tuple[str, np.ndarray | None]]:
    """Name and (H, W, 3) uint8 pixels, or None for a picture that cannot be decoded."""
    for source in sources:
        entries = _entries(source)
        with ThreadPoolExecutor(machine.cores()) as decoders:
            while some := list(islice(entries, AT_ONCE)):
                yield from decoders.map(_decode, some)


def _entries(source: Path) -> Iterator[tuple[str, bytes | None]]:
    """Name and content of every picture of a folder or an archive, in the order of the names; None for what cannot be read.

    Raises InputUnreadable for an archive that is damaged as a whole.
    """
    try:
        if source.suffix.lower() == ".tar":
            with tarfile.open(source) as tar:
                members = _members(tar)
                for member in sorted((m for m in members if m.isfile() and _is_picture(m.name)), key=lambda m: m.name):
                    extracted = tar.extractfile(member)
                    yield member.name, extracted.read() if extracted else None
        elif source.suffix.lower() == ".zip":
            with zipfile.ZipFile(source) as archive:
                for name in sorted(filter(_is_picture, archive.namelist())):
                    yield name, _unzipped(archive, name)
        elif source.is_dir():
            for path in sorted(path for path in source.rglob("*") if _is_picture(path.name) and path.is_file()):
                yield str(path.relative_to(source)), _content(path)
        else:
            raise InputUnreadable(
                "no folder and no archive", expected="a folder, a .tar or a .zip of pictures", path=source
            )
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise InputUnreadable(
            f"the pictures cannot be read ({error})", remedy="fetch or unpack the archive again", path=source
        ) from error


def _members(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """All that is in `tar`. Raises ReadError at a damaged header, which tarfile takes for the end."""
    members = tar.getmembers()
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if any(tar.fileobj.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError(f"no header at byte {tar.offset}")
    return members


def _unzipped(archive: zipfile.ZipFile, name: str) -> bytes | None:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError):
        return None
    except RuntimeError:  # encrypted, or packed in a way that this Python cannot unpack
        return None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _is_picture(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _decode(entry: tuple[str, bytes | None]) -> tuple[str, np.ndarray | None]:
    name, content = entry
    if content is None:
        return name, None
    try:
        pixels = images.decode(content).pixels
    except InputUnreadable:
        return name, None
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return name, pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _photograph(
    name: str, pixels: np.ndarray, scale: int, degradation: Degradation, side: int | None, device: torch.device | None
) -> Photograph | None:
    """The picture and its LR, or None where it has no LR pixel."""
    height, width = (size // scale * scale for size in pixels.shape[:2])
    if not height or not width:
        return None
    hr = _kept(torch.from_numpy(pixels[:height, :width]).permute(2, 0, 1)).to(device)
    exact = hr[None].double() / 255  # float32 would round a pixel in 100,000 to another level than MATLAB
    lr = to_8_bit(degrade(exact, scale, degradation))[0]
    made = Photograph(name=name, hr=hr, lr=_kept(lr) if lr.device.type == "cpu" else lr)
    return made if side is None else _middle(made, scale, side=side)


def _kept(pixels: Tensor) -> Tensor:
    """A copy in memory of its own: many that stay would cut the heap to pieces, between large ones that soon go."""
    mapped = mmap.mmap(-1, pixels.numel(), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(mapped, dtype=torch.uint8).reshape(pixels.shape).copy_(pixels)


def _middle(photograph: Photograph, scale: int, *, side: int = VALIDATION_SIDE) -> Photograph:
    """At most `side` HR pixels a side around the middle, in whole LR pixels; a copy, where it is not the whole picture."""
    height, width = (min(size, side // scale) for size in photograph.lr.shape[1:])
    top, left = ((size - kept) // 2 for size, kept in zip(photograph.lr.shape[1:], (height, width), strict=True))
    return Photograph(
        name=photograph.name,
        lr=photograph.lr[:, top : top + height, left : left + width].contiguous(),
        hr=photograph.hr[:, top * scale : (top + height) * scale, left * scale : (left + width) * scale].contiguous(),
    )
