"""ICC profiles: byte for byte the same in the output, or dropped with a warning when read."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from picture_files import EVERY_SUFFIX, LINEAR_GREY, PHOTO, SHAPES, SRGB, patched, pil, stored
from PIL import Image

from gpsr_deploy.media import images


@pytest.mark.parametrize("suffix", EVERY_SUFFIX)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_icc_bytes_are_identical_in_the_output(tmp_path: Path, kind: str, suffix: str) -> None:
    picture = images.read(stored(tmp_path, pil(PHOTO, kind, icc_profile=SRGB)))
    assert picture.icc == SRGB and picture.warnings == ()
    images.write(tmp_path / f"out{suffix}", picture)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_grey_profile_stays_with_a_grey_picture(tmp_path: Path, suffix: str) -> None:
    picture = images.read(stored(tmp_path, pil(SHAPES, "TIFF", icc_profile=LINEAR_GREY)))
    images.write(tmp_path / f"out{suffix}", picture)
    assert images.read(tmp_path / f"out{suffix}").icc == picture.icc == LINEAR_GREY


CORRUPT_ICC = {
    "cut": SRGB[:100],
    "cut in a tag": SRGB[:-40],
    "longer than it says": SRGB + bytes(400),
    "length": patched(SRGB, 0, b"\xff\xff\xff\xff"),
    "length 0": patched(SRGB, 0, bytes(4)),
    "signature": patched(SRGB, 36, b"pcsa"),
    "version": patched(SRGB, 8, b"\xff"),
    "class": patched(SRGB, 12, b"????"),
    "link": patched(SRGB, 12, b"link"),
    "connection": patched(SRGB, 20, b"????"),
    "intent": patched(SRGB, 64, b"\xff\xff\xff\xff"),
    "tag count": patched(SRGB, 128, b"\xff\xff\xff\xff"),
    "tag offset": patched(SRGB, 136, b"\xff\xff\xff\xf0"),
    "tag size": patched(SRGB, 140, b"\x7f\xff\xff\xff"),
    "for CMYK": patched(SRGB, 16, b"CMYK"),
    "for grey": LINEAR_GREY,
    "odd length in version 4": struct.pack(">I", len(SRGB) + 1) + SRGB[4:] + b"\0",
    "junk": b"junk" * 100,
}


@pytest.mark.parametrize("profile", CORRUPT_ICC.values(), ids=CORRUPT_ICC)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_icc_profile_that_cannot_be_right_is_dropped_with_a_warning(
    tmp_path: Path, kind: str, profile: bytes
) -> None:
    blob = pil(PHOTO, kind, icc_profile=profile)
    picture = images.read(stored(tmp_path, blob))
    with Image.open(io.BytesIO(blob)) as image:
        assert np.array_equal(picture.pixels, np.array(image))
    expected = SRGB if kind == "PNG" and profile.startswith(SRGB) else None  # libpng cuts it to the length it says
    assert picture.icc == expected
    assert any("ICC" in warning for warning in picture.warnings) == (expected is None)


def test_what_icc_profile_is_kept_can_be_written(tmp_path: Path) -> None:
    """Whatever byte of its header and tag table is changed: dropped when read, or in the output, byte for byte."""
    random, kept = np.random.default_rng(3), 0
    for at in random.integers(0, 132 + 12 * 10, 60):
        profile = patched(SRGB, at, random.bytes(1))
        picture = images.read(stored(tmp_path, pil(PHOTO[:2, :2], "TIFF", icc_profile=profile)))
        for suffix in EVERY_SUFFIX if picture.icc else []:
            images.write(tmp_path / f"out{suffix}", picture, overwrite=True)
            assert images.read(tmp_path / f"out{suffix}").icc == profile, at
            kept += 1
    assert kept > 40
