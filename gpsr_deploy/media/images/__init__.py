"""Pictures in and out: the only place that knows picture formats, bit depths, alpha and ICC. On libvips, for POSIX."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyvips

from gpsr_deploy import atomic
from gpsr_deploy.errors import InputUnreadable, OutOfMemory, OutputUnwritable, UsageError
from gpsr_deploy.media.images import decode as decoder
from gpsr_deploy.media.images.decode import MAX_INPUT_PIXELS, MAX_INPUT_SIDE, Surveyed, reason
from gpsr_deploy.media.images.encode import CODEC_BYTES, OutputFormat, RowWriter, output_format
from gpsr_deploy.media.images.hidden import bleed
from gpsr_deploy.media.images.picture import Depth, Header, Outline, Picture, Samples
from gpsr_deploy.media.images.rows import RowReader

__all__ = [
    "MAX_INPUT_PIXELS",
    "MAX_INPUT_SIDE",
    "MAX_OUTPUT_PIXELS",
    "Depth",
    "Header",
    "Outline",
    "Picture",
    "RowReader",
    "RowWriter",
    "Samples",
    "Surveyed",
    "bleed",
    "check_output",
    "decode",
    "open_rows",
    "probe",
    "read",
    "survey",
    "write",
    "writing",
]

MAX_OUTPUT_PIXELS = 1 << 34
"""Most pixels an output may have: the largest input at scale 8."""


def probe(path: Path) -> Header:
    """The header of the picture in `path`, without decoding it.

    Raises InputUnreadable (exit 3) for a file that cannot be opened, is not regular, is of a kind that is not read
    (the content decides) or claims more than MAX_INPUT_PIXELS.
    """
    with _opened(path) as file:
        return decoder.read_header(file)


def read(path: Path) -> Picture:
    """The picture in `path`, decoded whole. A file that is cut or damaged raises InputUnreadable (exit 3).

    Memory holds the result and a strip of rows; for interlaced PNG, WebP and GIF also the decoder's own frame.
    Raises OutOfMemory (exit 6) if the result finds no room.
    """
    with _opened(path) as file:
        return decoder.read_picture(file)


def survey(path: Path) -> Surveyed | None:
    """What the picture in `path` is found to be when all of it is decoded, of which nothing is kept; raises as `read`.

    None for a picture that cannot be read by rows: one that is stored on its side or upside down, or has alpha.
    """
    with _opened(path) as file:
        return decoder.survey(file)


@contextmanager
def open_rows(path: Path, surveyed: Surveyed) -> Iterator[RowReader]:
    """The rows of a picture that was surveyed. Memory holds those in work, and for some formats the decoder's own frame.

    Reading them raises as `read`, where the file has changed since.
    """
    with _decoding(path):
        file = _open(path)
    with file:
        yield RowReader(_told(decoder.read_rows(file, surveyed), path), height=surveyed.outline.height)


def decode(content: bytes) -> Picture:
    """As `read`, of the bytes of a file: what an archive holds. Errors carry no path."""
    with _decoding(None), tempfile.TemporaryFile(buffering=0) as file:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        file.seek(0)
        return decoder.read_picture(file)


def check_output(
    path: Path,
    *,
    height: int,
    width: int,
    has_alpha: bool,
    depth: Depth,
    overwrite: bool,
    grey: bool = False,
    has_exif: bool = False,
) -> tuple[str, ...]:
    """What `write` would drop or convert to fit such a picture into the format of `path`, one clause each.

    To be called before the work: raises UsageError (exit 2) for an unknown suffix and OutputUnwritable (exit 4) for
    all else that can be known to fail: the size, an existing file, the folder, the free space.
    """
    kind = output_format(path)
    side = _longest_side(kind)
    if max(height, width) > side or height * width > MAX_OUTPUT_PIXELS:
        raise OutputUnwritable(
            f"the output would be {height}x{width} pixels",
            expected=f"at most {side} a side for {kind} and {MAX_OUTPUT_PIXELS} in all",
            remedy=".png or .tif, or a smaller input",
            path=path,
        )
    with _refusing(path):
        _check_place(path, overwrite=overwrite)
        with atomic.temporary(path):
            free = shutil.disk_usage(path.parent).free
    needed = int(height * width * ((1 if grey else 3) + has_alpha) * depth / 8 * _compression(kind))
    if free < needed:
        raise OutputUnwritable(
            f"the disk has {_size(free)} free",
            expected=f"about {_size(needed)} for {height}x{width} pixels of {kind}",
            remedy="another disk, or .jpg or .webp",
            path=path,
        )
    warnings = (
        "JPEG has no alpha: the picture is flattened on white" if kind == "jpeg" and has_alpha else "",
        f"{kind} has 8 bits a sample: those of 16 are rounded" if kind in ("jpeg", "webp") and depth == 16 else "",
        "EXIF is not written to TIFF" if kind == "tiff" and has_exif else "",
    )
    return tuple(warning for warning in warnings if warning)


def write(path: Path, picture: Picture, *, quality: int = 95, overwrite: bool = False) -> None:
    """Encodes `picture` in the format that the suffix of `path` names: whole or, after any failure, not at all.

    Depth, alpha, ICC, EXIF and XMP are kept where the format has them; `check_output` tells where it has not.
    `quality`, 1 to 100, is for JPEG and WebP. Raises UsageError (exit 2) or OutputUnwritable (exit 4).
    """
    with writing(path, picture.outline, quality=quality, overwrite=overwrite) as sink:
        sink.write(picture.pixels, picture.alpha)


@contextmanager
def writing(path: Path, outline: Outline, *, quality: int = 95, overwrite: bool = False) -> Iterator[RowWriter]:
    """As `write`, by rows: those given before the end of the `with` are the picture; after an error inside there is none.

    Memory holds some rows; for WebP all of them. What goes wrong inside passes through, but for the writer's own errors.
    """
    kind = output_format(path)
    if not 1 <= quality <= 100:
        raise UsageError(f"the quality is {quality}", expected="1 to 100")
    with ExitStack() as stack:
        with _refusing(path):
            descriptor, temporary = stack.enter_context(atomic.temporary(path))
        writer = RowWriter(descriptor, outline, kind=kind, quality=quality, refusing=partial(_refusing, path))
        yield stack.enter_context(writer)
        writer.finish()
        with _refusing(path):
            os.fsync(descriptor)
            atomic.publish(temporary, path, overwrite=overwrite)


# Reading


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """`path` open, and failures inside as errors about it."""
    with _decoding(path), _open(path) as file:
        yield file


def _open(path: Path) -> BinaryIO:
    """`path`, unbuffered, since libvips shares the position in the file."""
    if not stat.S_ISREG(path.stat().st_mode):  # asked first: to open a FIFO would be to wait for its writer
        raise InputUnreadable("this is no regular file", expected="a picture file")
    return path.open("rb", buffering=0)


def _told(strips: Iterator[Samples], path: Path) -> Iterator[Samples]:
    """`strips`, failures in their making being errors about `path`."""
    with _decoding(path):
        yield from strips


@contextmanager
def _decoding(path: Path | None) -> Iterator[None]:
    """Failures inside as errors about `path`."""
    try:
        yield
    except InputUnreadable as error:
        error.path = path
        raise
    except OSError as error:
        raise InputUnreadable(
            f"the file cannot be read: {error.strerror}", remedy="check the name and the permissions", path=path
        ) from error
    except (pyvips.Error, UnicodeDecodeError) as error:  # the latter where libvips cites bytes of the file
        _require_memory("no memory to decode the picture", path, error)
        raise InputUnreadable(
            f"the picture cannot be decoded: {reason(error)}",
            remedy="copy or download it again, or convert it to PNG",
            path=path,
        ) from error
    except MemoryError as error:
        raise OutOfMemory("no memory for the decoded picture", remedy="a smaller picture", path=path) from error


# Writing


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Failures inside as OutputUnwritable about `path`."""
    try:
        yield
    except FileExistsError as error:
        raise OutputUnwritable("the output exists", remedy="--overwrite, or another name", path=path) from error
    except OSError as error:
        raise OutputUnwritable(
            f"the output cannot be written: {error.strerror}",
            remedy="check that its folder exists, is writable and has room",
            path=path,
        ) from error
    except pyvips.Error as error:
        _require_memory("no memory to encode the picture", path, error)
        raise OutputUnwritable(
            f"the output cannot be written: {reason(error)}",
            remedy="check the free space, or take another format",
            path=path,
        ) from error


def _require_memory(found: str, path: Path | None, error: Exception) -> None:
    """Raises OutOfMemory if that may be what ended libvips, which tells it from other failures in words only."""
    try:
        np.empty(CODEC_BYTES, np.uint8)
    except MemoryError:
        raise OutOfMemory(found, remedy="a smaller picture", path=path) from error


def _longest_side(kind: OutputFormat) -> int:
    """Most pixels a side that libvips writes."""
    match kind:
        case "jpeg":
            return 65500
        case "webp":
            return 16383
        case "png" | "tiff":
            return 100_000_000


def _compression(kind: OutputFormat) -> float:
    """Size of the file over that of its samples: low for photographs, since too high would refuse what fits."""
    match kind:
        case "png":
            return 1 / 4
        case "jpeg":
            return 1 / 20
        case "webp":
            return 1 / 40
        case "tiff":
            return 1


def _check_place(path: Path, *, overwrite: bool) -> None:
    try:
        path.lstat()
    except FileNotFoundError:
        return
    if not path.is_file():
        raise OutputUnwritable(
            f"the output is {'a folder' if path.is_dir() else 'no regular file'}", remedy="another name", path=path
        )
    if not overwrite:
        raise FileExistsError


def _size(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 2**20:.1f} MiB" if count >= 1 << 20 else f"{count / 2**10:.1f} KiB"
