"""Pictures and models as bytes, whole and broken, for the lists of faults: each made once, when it is first needed."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache, partial

import cv2
import numpy as np
import onnx
import tifffile
from PIL import Image, ImageCms
from project import ROOT

from gpsr_deploy import models, samples
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.spec import SRSpec

HEIGHT, WIDTH = 12, 15
"""Of the pictures here, in pixels, unless one says something else."""


@cache
def photo(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A part of a photograph that ships, RGB, tiled where it is not enough."""
    (path,) = (path for path in samples.photographs() if path.stem == "astronaut")
    whole = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    times = -(-height // whole.shape[0]), -(-width // whole.shape[1])
    return np.ascontiguousarray(np.tile(whole, (*times, 1))[:height, :width])


def saved(array: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    """An array as Pillow saves it: `kind` is PNG, JPEG, WEBP, TIFF or GIF."""
    image, out = Image.fromarray(array), io.BytesIO()
    (image.convert(mode) if mode else image).save(out, kind, **options)
    return out.getvalue()


def later(make: Callable[..., bytes], *arguments: object, **options: object) -> Callable[[], bytes]:
    """A call that is made when the content is needed."""
    return partial(make, *arguments, **options)


@cache
def photo_file(kind: str, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    """The photograph in a format: PNG, JPEG, WEBP, TIFF or GIF."""
    return saved(photo(height, width), kind)


def cut(kind: str, share: float) -> bytes:
    """The beginning of a file: `share` of a photograph of some size, so that the end is far from the header."""
    whole = photo_file(kind, 60, 75)
    return whole[: int(len(whole) * share)]


def flipped(content: bytes, at: int, mask: int = 0xFF) -> bytes:
    """Other bits at one place; a negative place counts from the end."""
    changed = bytearray(content)
    changed[at] ^= mask
    return bytes(changed)


def patched(content: bytes, old: bytes, new: bytes) -> bytes:
    """With the first `old`, which must be there, replaced."""
    assert old in content
    return content.replace(old, new, 1)


def several(kind: str, **options: object) -> bytes:
    """Three frames or pages."""
    more = [Image.fromarray(photo()[::-1]), Image.fromarray(photo()[:, ::-1])]
    return saved(photo(), kind, save_all=True, append_images=more, **options)


def oriented_exif(orientation: int) -> bytes:
    """An EXIF block that tells how the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def oriented(kind: str, orientation: int) -> bytes:
    """The photograph with such a block."""
    return saved(photo(), kind, exif=oriented_exif(orientation))


@cache
def srgb() -> bytes:
    """An ICC profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def deep(channels: int) -> bytes:
    """A 16-bit PNG of grey, RGB or RGBA."""
    levels = photo().astype(np.uint16) * 257
    alpha = np.full((HEIGHT, WIDTH, 1), 40_000, np.uint16)
    pixels = {1: levels[:, :, 1], 3: levels, 4: np.dstack([levels, alpha])}[channels]
    return cv2.imencode(".png", pixels)[1].tobytes()


# PNG, by hand


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Length, type, body, checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int = WIDTH,
    height: int = HEIGHT,
    *,
    depth: int = 8,
    colour: int = 2,
    interlaced: int = 0,
    rows: bytes | None = None,
    before: Sequence[tuple[bytes, bytes]] = (),
    end: bytes = png_chunk(b"IEND", b""),
) -> bytes:
    """A PNG that may contradict itself: by default black RGB; `rows` are the filtered rows, `before` chunks before them."""
    if rows is None:
        rows = (b"\0" + bytes(3 * width)) * height
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    chunks = b"".join(png_chunk(kind, body) for kind, body in before)
    return b"\x89PNG\r\n\x1a\n" + header + chunks + png_chunk(b"IDAT", zlib.compress(rows)) + end


def flat_rows(sample: bytes, per_row: int, height: int = HEIGHT) -> bytes:
    """Rows without a filter, all of the same bytes."""
    return (b"\0" + sample * per_row) * height


@cache
def inflating(mebibytes: int) -> bytes:
    """What zlib inflates to so much, in a thousandth of it."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(mebibytes)) + packer.flush()


# TIFF, by hand

TIFF_SIZES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II"}


def tiff(
    entries: Sequence[tuple[int, int, int, int]],
    *,
    data: bytes = bytes(HEIGHT * WIDTH * 3),
    following: int = 0,
    directory_at: int | None = None,
    count: int | None = None,
) -> bytes:
    """A little-endian TIFF of one directory: (tag, type, count, value or offset), data at byte 8, the directory behind it."""
    at = 8 + len(data) + len(data) % 2
    head = b"II*\0" + struct.pack("<I", at if directory_at is None else directory_at)
    body = struct.pack("<H", len(entries) if count is None else count)
    body += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return head + data.ljust(at - 8, b"\0") + body + struct.pack("<I", following)


def tiff_entries(**changes: int) -> list[tuple[int, int, int, int]]:
    """Those of an RGB picture in one strip, with changed values; by name as in TIFF 6.0."""
    tags = {
        "width": (256, 4, WIDTH),
        "length": (257, 4, HEIGHT),
        "bits": (258, 3, 8),
        "compression": (259, 3, 1),
        "photometric": (262, 3, 2),
        "strip": (273, 4, 8),
        "samples": (277, 3, 3),
        "rows": (278, 4, HEIGHT),
        "bytes": (279, 4, HEIGHT * WIDTH * 3),
        "planar": (284, 3, 1),
        "sampleformat": (339, 3, 1),
    }
    return [(tag, kind, 1, changes.get(name, value)) for name, (tag, kind, value) in tags.items()]


def tiff_saved(array: np.ndarray, **options: object) -> bytes:
    """An array as tifffile saves it: all that Pillow does not know."""
    out = io.BytesIO()
    tifffile.imwrite(out, array, **options)
    return out.getvalue()


# GIF, by hand


def gif(width: int, height: int, *, frame: tuple[int, int] | None = None, data: bytes = b"\x02\x02\x44\x01\0") -> bytes:
    """One frame with a palette of four greys; `frame` is its size, that of the picture by default."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x91, 0, 0) + bytes(range(0, 240, 20))
    return screen + b"," + struct.pack("<HHHHB", 0, 0, *(frame or (width, height)), 0) + data + b";"


# Models


@cache
def shipped() -> bytes:
    """The x4 model that ships."""
    return models.shipped(4).read_bytes()


@cache
def checkpoint() -> bytes:
    """The x4 weights that ship."""
    return (ROOT / "weights" / "gpsr_nano_x4.safetensors").read_bytes()


def model(change: Callable[[onnx.ModelProto], object]) -> bytes:
    """The model that ships, changed: as by another program, without the checksum that ours writes."""
    found = onnx.load_model_from_string(shipped())
    found.producer_name = "another"
    kept = [entry for entry in found.metadata_props if entry.key in (onnx_file.SPEC_KEY, onnx_file.COSTS_KEY)]
    del found.metadata_props[:]
    found.metadata_props.extend(kept)
    change(found)
    return found.SerializeToString()


def stating(found: onnx.ModelProto, text: str, key: str = onnx_file.SPEC_KEY) -> None:
    """Other words in a model's metadata."""
    next(entry for entry in found.metadata_props if entry.key == key).value = text


def spec(**changes: object) -> SRSpec:
    """A valid spec, as of the model that ships."""
    words: dict[str, object] = {
        "name": "gpsr-nano-x4",
        "scale": 4,
        "halo": 24,
        "multiple_of": 3,
        "tiling": "aligned",
        "dtype": "fp32",
        "checkpoint_sha256": "0" * 64,
    }
    return SRSpec(**(words | changes))  # type: ignore[arg-type]
