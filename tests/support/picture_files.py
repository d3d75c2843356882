"""Pictures for tests as files of every kind, made by Pillow, tifffile, OpenCV or by hand, and read back by them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms
from skimage import data

from gpsr_deploy.media.images import Picture

PHOTO = data.astronaut()[20:81, 170:253]  # 61x83: no multiple of anything
SHAPES = np.random.default_rng(0).integers(0, 256, PHOTO.shape[:2], np.uint8)  # as grey or alpha
DEEP = PHOTO.astype(np.uint16) * 257 + SHAPES[..., None] % 100
RGBA = np.dstack([PHOTO, SHAPES])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = [".png", ".tif"]
EVERY_SUFFIX = [".png", ".jpg", ".webp", ".tif"]


def linear_grey() -> bytes:
    """A profile for grey that is proportional to light, by ICC.1:2001."""
    light = struct.pack(">iii", 63190, 65536, 54061)  # D50 in units of 2^-16
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(79),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": b"XYZ \0\0\0\0" + light,
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IHH", 1, 1 << 8, 0),
    }
    body, table = b"".join(tags.values()), b""
    start = at = 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", at, len(value))
        at += len(value)
    head = struct.pack(">I4sI", start + len(body), b"test", 0x02400000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp"
    return head + bytes(28) + light + bytes(48) + struct.pack(">I", len(tags)) + table + body


LINEAR_GREY = linear_grey()


def pil(array: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(array)
    out = io.BytesIO()
    (image.convert(mode) if mode else image).save(out, kind, **options)
    return out.getvalue()


def tiff(array: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, **options)
    return out.getvalue()


def opencv(suffix: str, array: np.ndarray) -> bytes:
    swapped = (
        array
        if array.ndim == 2
        else cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    )
    return cv2.imencode(suffix, swapped)[1].tobytes()


def animation(kind: str, **options: object) -> bytes:
    return pil(
        PHOTO,
        kind,
        save_all=True,
        append_images=[Image.fromarray(PHOTO[::-1]), Image.fromarray(PHOTO[:, ::-1])],
        **options,
    )


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(height: int, width: int, *, rows: bytes = b"") -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def patched(blob: bytes, at: int, new: bytes) -> bytes:
    return blob[:at] + new + blob[at + len(new) :]


def stored(folder: Path, blob: bytes, name: str = "picture") -> Path:
    path = folder / name
    path.write_bytes(blob)
    return path


def together(picture: Picture) -> np.ndarray:
    """Pixels and alpha as Pillow and OpenCV hold them."""
    return picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])


def by_pillow(path: Path) -> np.ndarray:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.array(image)


def by_opencv(path: Path) -> np.ndarray:
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    return (
        array
        if array.ndim == 2
        else cv2.cvtColor(array, cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    )


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.mean((one.astype(float) - other) ** 2), 1e-9))


EIGHT_BIT = {
    "png grey": pil(SHAPES, "PNG"),
    "png rgb": pil(PHOTO, "PNG"),
    "png rgba": pil(RGBA, "PNG"),
    "png grey alpha": pil(RGBA, "PNG", "LA"),
    "png 1 bit": pil(SHAPES, "PNG", "1"),
    "png palette": pil(PHOTO, "PNG", "P"),
    "png palette of 4": pil(SHAPES // 64, "PNG", "P", bits=2),
    "png palette tRNS": pil(PHOTO, "PNG", "P", transparency=bytes(range(256))),
    "png grey tRNS": pil(SHAPES, "PNG", transparency=int(SHAPES[0, 0])),
    "png rgb tRNS": pil(PHOTO, "PNG", transparency=tuple(map(int, PHOTO[0, 0]))),
    "jpeg grey": pil(PHOTO, "JPEG", "L"),
    "jpeg 4:4:4": pil(PHOTO, "JPEG", quality=95, subsampling=0),
    "jpeg progressive": pil(PHOTO, "JPEG", progressive=True, subsampling=0),
    "webp rgb": pil(PHOTO, "WEBP", lossless=True),
    "webp rgba": pil(RGBA, "WEBP", lossless=True, exact=True),
    "tiff 1 bit": pil(SHAPES, "TIFF", "1"),
    "tiff grey": pil(SHAPES, "TIFF"),
    "tiff grey alpha": pil(RGBA, "TIFF", "LA"),
    "tiff white is zero": tiff(SHAPES, photometric="miniswhite"),
    "tiff palette": pil(PHOTO, "TIFF", "P"),
    "tiff rgb": pil(PHOTO, "TIFF"),
    "tiff rgba": pil(RGBA, "TIFF"),
    "tiff lzw": pil(PHOTO, "TIFF", compression="tiff_lzw"),
    "tiff deflate": pil(PHOTO, "TIFF", compression="tiff_adobe_deflate"),
    "tiff jpeg": pil(PHOTO, "TIFF", compression="jpeg"),
    "tiff fax": pil(SHAPES, "TIFF", "1", compression="group4"),
    "tiff planes": tiff(np.moveaxis(PHOTO, 2, 0), photometric="rgb", planarconfig="separate"),
    "tiff tiles": tiff(np.tile(PHOTO, (3, 3, 1)), photometric="rgb", tile=(32, 32)),
    "tiff big": tiff(PHOTO, photometric="rgb", bigtiff=True),
    "tiff motorola": tiff(PHOTO, photometric="rgb", byteorder=">"),
    "gif": pil(PHOTO, "GIF", "P"),
    "1x1": pil(PHOTO[:1, :1], "PNG"),
    "2x1": pil(PHOTO[:2, :1], "TIFF"),
    "wide": pil(np.tile(PHOTO[:1], (1, 700, 1)), "JPEG", subsampling=0),
}

SIXTEEN_BIT = {
    "png grey": opencv(".png", DEEP[..., 0]),
    "png rgb": opencv(".png", DEEP),
    "png rgba": opencv(".png", np.dstack([DEEP, DEEP[..., :1]])),
    "tiff grey": opencv(".tiff", DEEP[..., 0]),
    "tiff rgb": opencv(".tiff", DEEP),
    "tiff rgba": tiff(np.dstack([DEEP, DEEP[..., :1]]), photometric="rgb", extrasamples=["unassalpha"]),
    "tiff motorola": tiff(DEEP, photometric="rgb", byteorder=">"),
}

ANIMATIONS = {
    "gif": animation("GIF"),
    "apng": animation("PNG"),
    "webp": animation("WEBP", lossless=True),
    "tiff": animation("TIFF"),
}
