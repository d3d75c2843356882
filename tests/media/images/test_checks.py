"""Damaged files: cut anywhere or with a byte flipped, they are refused; what a decoder passes over is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import EIGHT_BIT, PHOTO, SIXTEEN_BIT, SRGB, patched, pil, png_chunk, stored, tiff

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media import images

CUT = EIGHT_BIT | {
    "png 16 bit": SIXTEEN_BIT["png rgb"],
    "webp lossy": pil(PHOTO, "WEBP"),
    "webp with metadata behind": pil(PHOTO, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", xmp=bytes(500)),
    "tiff tiles with a tag that libtiff warns of": EIGHT_BIT["tiff tiles"].replace(b"tifffile.py\0", b"tifffile.pyX"),
    "png with metadata behind": pil(PHOTO, "PNG")[:-12]
    + png_chunk(b"tEXt", b"a\0" + bytes(500))
    + pil(PHOTO, "PNG")[-12:],
}


@pytest.mark.parametrize("blob", CUT.values(), ids=CUT)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_cut_file_is_refused(tmp_path: Path, blob: bytes, share: float) -> None:
    with pytest.raises(InputUnreadable):
        images.read(stored(tmp_path, blob[: int(len(blob) * share)]))


@pytest.mark.parametrize("name", [name for name in CUT if name not in ("gif", "tiff fax", "wide", "1x1")])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    """Without those whose last bytes, one to four, only say that nothing follows, and are not looked at."""
    blob = CUT[name]
    for length in {*range(0, len(blob), len(blob) // 25 + 1), *range(len(blob) - 5, len(blob))}:
        with pytest.raises(InputUnreadable):
            images.read(stored(tmp_path, blob[:length]))


def test_a_flipped_byte_in_a_png_is_always_refused(tmp_path: Path) -> None:
    """Signature, length, type, data and CRC of every chunk: there is no byte in a PNG that belongs to nothing."""
    random = np.random.default_rng(1)
    blob = pil(PHOTO, "PNG", icc_profile=SRGB, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", dpi=(300, 300))
    for at in random.integers(0, len(blob), 200):
        path = stored(tmp_path, patched(blob, at, bytes([blob[at] ^ random.integers(1, 256)])))
        with pytest.raises(InputUnreadable):
            images.read(path)


def test_bytes_behind_a_png_belong_to_no_chunk(tmp_path: Path) -> None:
    picture = images.read(stored(tmp_path, pil(PHOTO, "PNG") + b"left behind by an editor"))
    assert np.array_equal(picture.pixels, PHOTO)


@pytest.mark.parametrize(
    "name", ["jpeg 4:4:4", "jpeg progressive", "jpeg grey", "webp rgb", "webp rgba", "tiff rgb", "tiff lzw", "gif"]
)
def test_a_flipped_byte_elsewhere_gives_a_picture_or_a_refusal(tmp_path: Path, name: str) -> None:
    random, blob, refused = np.random.default_rng(2), EIGHT_BIT[name], 0
    for at in random.integers(0, len(blob), 100):
        path = stored(tmp_path, patched(blob, at, bytes([blob[at] ^ random.integers(1, 256)])))
        try:
            images.read(path)
        except InputUnreadable:
            refused += 1
    assert refused < 100


def test_damage_that_a_jpeg_decoder_passes_over_is_named(tmp_path: Path) -> None:
    blob = EIGHT_BIT["jpeg 4:4:4"]
    end = len(blob) // 2
    picture = images.read(stored(tmp_path, blob[:end] + b"\xff\xd9"))  # an end marker where half the rows are missing
    assert picture.pixels.shape == PHOTO.shape
    assert any("damage" in warning for warning in picture.warnings)


def test_a_tag_that_libtiff_warns_of_is_no_reason_to_refuse(tmp_path: Path) -> None:
    blob = tiff(PHOTO, photometric="rgb")
    picture = images.read(stored(tmp_path, blob.replace(b"tifffile.py\0", b"tifffile.pyX")))
    assert np.array_equal(picture.pixels, PHOTO)
    assert len(picture.warnings) == 1
