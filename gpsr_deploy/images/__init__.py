"""Pictures in and out: the only place that knows picture formats, bit depths, alpha and ICC. On libvips, for POSIX."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pyvips
from numpy.typing import NDArray

from gpsr_deploy import atomic
from gpsr_deploy.errors import InputUnreadable, OutOfMemory, OutputUnwritable, UsageError
from gpsr_deploy.images.decode import (
    MAX_INPUT_PIXELS,
    MAX_INPUT_SIDE,
    Depth,
    Header,
    Picture,
    Samples,
    read_header,
    read_picture,
    reason,
)

__all__ = [
    "MAX_INPUT_PIXELS",
    "MAX_INPUT_SIDE",
    "MAX_OUTPUT_PIXELS",
    "Depth",
    "Header",
    "Picture",
    "Samples",
    "bleed",
    "check_output",
    "decode",
    "probe",
    "read",
    "write",
]

MAX_OUTPUT_PIXELS = 1 << 32
"""Most pixels an output may have: the largest input at scale 4."""

OutputFormat = Literal["png", "jpeg", "webp", "tiff"]
_ENCODER_BYTES = 64 << 20  # what the threads of an encoder may ask for


def probe(path: Path) -> Header:
    """The header of the picture in `path`, without decoding it.

    Raises InputUnreadable (exit 3) for a file that cannot be opened, is not regular, is of a kind that is not read
    (the content decides) or claims more than MAX_INPUT_PIXELS.
    """
    with _opened(path) as file:
        return read_header(file)


def read(path: Path) -> Picture:
    """The picture in `path`, decoded whole. A file that is cut or damaged raises InputUnreadable (exit 3).

    Memory holds the result and a strip of rows; for interlaced PNG, WebP and GIF also the decoder's own frame.
    Raises OutOfMemory (exit 6) if the result finds no room.
    """
    with _opened(path) as file:
        return read_picture(file)


def decode(content: bytes) -> Picture:
    """As `read`, of the bytes of a file: what an archive holds. Errors carry no path."""
    with _decoding(None), tempfile.TemporaryFile(buffering=0) as file:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        file.seek(0)
        return read_picture(file)


def bleed(pixels: Samples, alpha: Samples) -> Samples:
    """`pixels` with the colours under `alpha` == 0, which nobody sees, replaced by those of the visible neighbourhood.

    So a network that reads across the edge of a shape meets the shape's own colour, and no fringe appears. Visible
    pixels stay as they are; a picture without any becomes zeros. (H, W, 3) or (H, W), with alpha (H, W); the result
    is `pixels` itself where nothing is hidden.
    """
    hidden = alpha == 0
    if not hidden.any():
        return pixels
    result = pixels.copy()
    result[hidden] = 0
    if not hidden.all():
        weight = alpha.astype(np.float32)[:, :, None]
        colours = _spread(pixels.reshape(*alpha.shape, -1) * weight, weight).reshape(pixels.shape)
        result[hidden] = np.rint(colours[hidden])
    return result


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
    kind = _output_format(path)
    side = _longest_side(kind)
    if max(height, width) > side or height * width > MAX_OUTPUT_PIXELS:
        raise OutputUnwritable(
            f"the output would be {height}x{width} pixels",
            expected=f"at most {side} a side for {kind} and {MAX_OUTPUT_PIXELS} in all",
            remedy=".png or .tif, or a smaller input",
            path=path,
        )
    with _writing(path):
        _check_place(path, overwrite=overwrite)
        with atomic.temporary(path):
            free = shutil.disk_usage(path.parent).free
    needed = int(height * width * ((1 if grey else 3) + has_alpha) * depth / 8 * _compression(kind))
    if free < needed:
        raise OutputUnwritable(
            f"the disk has {free / 2**20:.1f} MiB free",
            expected=f"about {needed / 2**20:.1f} MiB for {height}x{width} pixels of {kind}",
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
    kind = _output_format(path)
    if not 1 <= quality <= 100:
        raise UsageError(f"the quality is {quality}", expected="1 to 100")
    with _writing(path), atomic.temporary(path) as (descriptor, temporary):
        image = _encodable(picture, kind)
        # While C code runs, Python sees no signal: so it runs in another thread, and the first one waits in Python.
        with ThreadPoolExecutor(max_workers=1) as encoder:
            try:
                done = encoder.submit(
                    _save, image, pyvips.Target.new_to_descriptor(descriptor), kind, quality, _kept(picture)
                )
            except RuntimeError as error:  # no thread can be started
                raise OutOfMemory(
                    "no memory for a thread that encodes", remedy="a smaller picture", path=path
                ) from error
            try:
                done.result()
            except BaseException:
                image.set_kill(True)
                raise
        os.fsync(descriptor)
        atomic.publish(temporary, path, overwrite=overwrite)


# Reading


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """`path` open, and failures inside as errors about it. Unbuffered, since libvips shares the position in the file."""
    with _decoding(path):
        if not stat.S_ISREG(path.stat().st_mode):  # asked first: to open a FIFO would be to wait for its writer
            raise InputUnreadable("this is no regular file", expected="a picture file")
        with path.open("rb", buffering=0) as file:
            yield file


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
        raise InputUnreadable(
            f"the picture cannot be decoded: {reason(error)}",
            remedy="copy or download it again, or convert it to PNG",
            path=path,
        ) from error
    except MemoryError as error:
        raise OutOfMemory("no memory for the decoded picture", remedy="a smaller picture", path=path) from error


# Hidden colours


def _spread(total: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """`total` / `weight`, (H, W, C) / (H, W, 1); where that is 0 / 0, the same of the 3x3 around, else of half the size.

    So a place at distance d from all that has weight gets the mean of what lies within a few d. Some weight must be
    positive.
    """
    near = np.where(weight > 0, weight, _sum3x3(weight))
    known = near > 0
    result = np.where(weight > 0, total, _sum3x3(total))
    np.divide(result, near, out=result, where=known)
    if known.all():
        return result
    coarse = _spread(_sum2x2(total), _sum2x2(weight))
    height, width = weight.shape[:2]
    return np.where(known, result, coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width])


def _sum3x3(values: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    rows: NDArray[np.float32] = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def _sum2x2(values: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = values.shape[:2]
    padded: NDArray[np.float32] = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]


# Writing


@contextmanager
def _writing(path: Path) -> Iterator[None]:
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
        try:  # libvips tells a lack of memory from other failures in words only
            np.empty(_ENCODER_BYTES, np.uint8)
        except MemoryError:
            raise OutOfMemory("no memory to encode the picture", remedy="a smaller picture", path=path) from error
        raise OutputUnwritable(
            f"the output cannot be written: {reason(error)}",
            remedy="check the free space, or take another format",
            path=path,
        ) from error


def _output_format(path: Path) -> OutputFormat:
    match path.suffix.lower():
        case ".png":
            return "png"
        case ".jpg" | ".jpeg":
            return "jpeg"
        case ".webp":
            return "webp"
        case ".tif" | ".tiff":
            return "tiff"
    raise UsageError(f"the suffix is {path.suffix!r}", expected=".png, .jpg, .jpeg, .webp, .tif or .tiff", path=path)


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


def _encodable(picture: Picture, kind: OutputFormat) -> pyvips.Image:
    """The picture in samples that `kind` has, with its metadata; computed while it is saved."""
    grey, deep = picture.pixels.ndim == 2, picture.depth == 16
    image = _wrapped(picture.pixels)
    if picture.alpha is not None:
        image = image.bandjoin(_wrapped(picture.alpha))
        if kind == "jpeg":
            white = 65535 if deep else 255
            image = image.flatten(background=white, max_alpha=white)
    if deep and kind in ("jpeg", "webp"):
        image, deep = (image / 257).rint().cast("uchar"), False
    vertical, horizontal = picture.resolution
    meaning = ("grey16" if deep else "b-w") if grey else ("rgb16" if deep else "srgb")
    image = image.copy(interpretation=meaning, xres=horizontal, yres=vertical)
    for name, data in (("icc-profile-data", picture.icc), ("exif-data", picture.exif), ("xmp-data", picture.xmp)):
        if data:
            image.set_type(pyvips.GValue.blob_type, name, data)
    if kind == "webp" and grey and picture.icc:
        return image.icc_transform("srgb", embedded=True)  # WebP is always RGB, for which a grey profile is not
    return image


def _wrapped(samples: Samples) -> pyvips.Image:
    """`samples`, which are not copied if they lie in one piece."""
    height, width = samples.shape[:2]
    kind = "uchar" if samples.dtype == np.uint8 else "ushort"
    bands = samples.size // (height * width)
    return pyvips.Image.new_from_memory(np.ascontiguousarray(samples), width, height, bands, kind)


def _kept(picture: Picture) -> int:
    """The metadata that libvips is to write, as flags. A JPEG's resolution goes into EXIF; else none is invented."""
    exif = picture.exif is not None or picture.resolution != (1.0, 1.0)
    return 0b00001 * exif | 0b00010 * (picture.xmp is not None) | 0b01000 * (picture.icc is not None)


def _save(image: pyvips.Image, target: pyvips.Target, kind: OutputFormat, quality: int, keep: int) -> None:
    match kind:
        case "png":
            # For photographs the knee: level 1 saves little time and takes half as much again, more levels save little.
            image.pngsave_target(target, compression=2, filter="up", keep=keep)
        case "jpeg":
            image.jpegsave_target(target, Q=quality, subsample_mode="off", keep=keep)
        case "webp":
            image.webpsave_target(target, Q=quality, effort=2, keep=keep)
        case "tiff":
            raw = image.width * image.height * image.bands * (1 if image.format == "uchar" else 2)
            image.tiffsave_target(target, bigtiff=raw > 0xF000_0000, keep=keep)
