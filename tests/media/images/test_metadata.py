"""EXIF, XMP and resolution: kept, turned upright with the picture, and dropped with a warning where damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from picture_files import PHOTO, pil, stored, tiff
from PIL import Image, ImageOps

from gpsr_deploy.media import images
from gpsr_deploy.media.images import Picture


def with_orientation(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    return pil(PHOTO, kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_exactly_once(tmp_path: Path, kind: str, orientation: int) -> None:
    path = stored(tmp_path, with_orientation(kind, orientation))
    picture = images.read(path)
    with Image.open(path) as image:
        upright = np.array(ImageOps.exif_transpose(image))
    assert np.array_equal(picture.pixels, upright)
    assert (images.probe(path).height, images.probe(path).width) == upright.shape[:2]
    target = tmp_path / "again.png"
    images.write(target, picture)
    with Image.open(target) as image:
        assert np.array_equal(np.array(ImageOps.exif_transpose(image)), upright)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_exif_is_kept(tmp_path: Path, kind: str, suffix: str) -> None:
    source, target = stored(tmp_path, with_orientation(kind, 6)), tmp_path / f"out{suffix}"
    assert images.probe(source).has_exif
    images.write(target, images.read(source))
    with Image.open(target) as image:
        exif = image.getexif()
    assert (exif[0x010F], exif[0x0112]) == ("Maker", 1)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0junk", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_is_dropped_with_a_warning(tmp_path: Path, exif: bytes) -> None:
    picture = images.read(stored(tmp_path, pil(PHOTO, "PNG", exif=exif)))
    assert picture.exif is None
    assert any("EXIF" in warning for warning in picture.warnings)
    assert np.array_equal(picture.pixels, PHOTO)


def test_exif_that_is_not_read_is_named(tmp_path: Path) -> None:
    software, exif = struct.pack("<HH", 305, 2), struct.pack("<HH", 34665, 4)
    picture = images.read(stored(tmp_path, tiff(PHOTO, photometric="rgb").replace(software, exif)))
    assert any("EXIF" in warning for warning in picture.warnings)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_no_exif_is_invented(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    images.write(path, Picture(pixels=PHOTO))
    with Image.open(path) as found:
        assert not dict(found.getexif())


def test_the_old_thumbnail_does_not_survive(tmp_path: Path) -> None:
    """It shows the picture as it lay in the file; a viewer would show it sideways."""
    thumbnail = pil(PHOTO[:8, :8], "JPEG")
    entries = [(0x0112, 3, 1, 6 << 16)], [(0x0103, 3, 1, 6 << 16), (0x0201, 4, 1, 68), (0x0202, 4, 1, len(thumbnail))]
    first, second = (
        struct.pack(">H", len(rows)) + b"".join(struct.pack(">HHII", *row) for row in rows) for rows in entries
    )
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + first + struct.pack(">I", 26) + second + bytes(4) + thumbnail
    images.write(tmp_path / "out.jpg", images.read(stored(tmp_path, pil(PHOTO, "JPEG", exif=exif))))
    assert thumbnail in exif and thumbnail not in (tmp_path / "out.jpg").read_bytes()


def test_xmp_is_kept_and_upright(tmp_path: Path) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/><tiff:Orientation>8</tiff:Orientation></x:xmpmeta>'
    images.write(tmp_path / "out.webp", images.read(stored(tmp_path, pil(PHOTO, "WEBP", xmp=packet))))
    with Image.open(tmp_path / "out.webp") as image:
        assert image.info["xmp"] == packet.replace(b'"6"', b'"1"').replace(b">8<", b">1<")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_resolution_is_kept_and_turns_with_the_picture(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = stored(tmp_path, pil(PHOTO, "TIFF", resolution_unit=3, x_resolution=100.0, y_resolution=50.0, exif=exif))
    target = tmp_path / f"out{suffix}"
    images.write(target, images.read(source))
    assert images.read(target).resolution == pytest.approx((10, 5), rel=0.01)
