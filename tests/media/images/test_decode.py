"""Reading: every kind of picture gives the pixels that other libraries read, and its header says so beforehand."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips
from picture_files import (
    ANIMATIONS,
    DEEP,
    EIGHT_BIT,
    EVERY_SUFFIX,
    PHOTO,
    SIXTEEN_BIT,
    SRGB,
    decibels,
    patched,
    pil,
    png,
    png_chunk,
    stored,
    together,
)
from PIL import Image

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media import images
from gpsr_deploy.media.images import Picture


@pytest.mark.parametrize("blob", EIGHT_BIT.values(), ids=EIGHT_BIT)
def test_eight_bits_are_what_pillow_reads(tmp_path: Path, blob: bytes) -> None:
    path = stored(tmp_path, blob)
    picture = images.read(path)
    mode = ("L" if picture.pixels.ndim == 2 else "RGB") + ("A" if picture.alpha is not None else "")
    with Image.open(path) as image:
        expected = np.array(image.convert(mode))
        # Pillow names as transparent what it has not yet made so: nothing may be lost on the way to `mode`.
        assert ("A" in mode) == (image.has_transparency_data)
        assert (picture.pixels.ndim == 2) == (image.mode in ("1", "L", "LA"))
    assert picture.pixels.dtype == np.uint8
    assert np.array_equal(together(picture), expected)
    assert picture.warnings == ()


@pytest.mark.parametrize("blob", SIXTEEN_BIT.values(), ids=SIXTEEN_BIT)
def test_sixteen_bits_stay_sixteen(tmp_path: Path, blob: bytes) -> None:
    picture = images.read(stored(tmp_path, blob))
    assert picture.pixels.dtype == np.uint16
    channels = {(2, False): DEEP[..., 0], (3, False): DEEP, (3, True): np.dstack([DEEP, DEEP[..., :1]])}
    assert np.array_equal(together(picture), channels[picture.pixels.ndim, picture.alpha is not None])


def test_sixteen_bit_grey_alpha_stays_sixteen(tmp_path: Path) -> None:
    both = np.dstack([DEEP[..., 0], DEEP[..., 1]])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in both)
    blob = png(*both.shape[:2], rows=rows)
    blob = patched(blob, 8, png_chunk(b"IHDR", struct.pack(">IIBBBBB", both.shape[1], both.shape[0], 16, 4, 0, 0, 0)))
    assert np.array_equal(together(images.read(stored(tmp_path, blob))), both)


@pytest.mark.parametrize(
    "blob", [*EIGHT_BIT.values(), *SIXTEEN_BIT.values()], ids=[*EIGHT_BIT, *(f"16 bit {name}" for name in SIXTEEN_BIT)]
)
def test_the_header_tells_what_will_be_read(tmp_path: Path, blob: bytes) -> None:
    path = stored(tmp_path, blob)
    header, picture = images.probe(path), images.read(path)
    assert (header.height, header.width) == picture.pixels.shape[:2]
    assert header.grey == (picture.pixels.ndim == 2)
    assert header.has_alpha == (picture.alpha is not None)
    assert (header.depth, header.format, header.has_exif) == (picture.depth, picture.format, picture.exif is not None)


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.pdf", "photo"])
def test_the_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    assert images.read(stored(tmp_path, pil(PHOTO, "WEBP", lossless=True), name)).format == "webp"


@pytest.mark.parametrize("blob", ANIMATIONS.values(), ids=ANIMATIONS)
def test_of_several_frames_the_first_is_read_and_all_are_counted(tmp_path: Path, blob: bytes) -> None:
    path = stored(tmp_path, blob)
    assert images.probe(path).frames == 3
    picture = images.read(path)
    assert any("3 frames" in warning for warning in picture.warnings)
    with Image.open(path) as image:
        assert np.array_equal(picture.pixels, np.array(image.convert("RGB")))


def cmyk(profile: bytes | None) -> tuple[bytes, bytes]:
    """The photograph in printing inks, as TIFF, and libvips' own profile for them."""
    flat = np.ascontiguousarray(PHOTO)
    rgb = pyvips.Image.new_from_memory(flat, *PHOTO.shape[1::-1], 3, "uchar").copy(interpretation="srgb")
    inks = rgb.icc_transform("cmyk", input_profile="srgb")
    out = io.BytesIO()
    Image.fromarray(inks.numpy(), "CMYK").save(out, "TIFF", icc_profile=profile)
    return out.getvalue(), inks.get("icc-profile-data")


@pytest.mark.parametrize("embedded", ["its own profile", "no profile", "a corrupt profile"])
def test_cmyk_becomes_srgb(tmp_path: Path, embedded: str) -> None:
    profile = {"its own profile": cmyk(None)[1], "no profile": None, "a corrupt profile": b"junk" * 40}[embedded]
    picture = images.read(stored(tmp_path, cmyk(profile)[0]))
    assert decibels(picture.pixels, PHOTO) > 26  # as far as the inks' gamut goes
    assert picture.icc is None
    assert any("CMYK" in warning for warning in picture.warnings)


def test_cmyk_is_read_through_its_own_profile(tmp_path: Path) -> None:
    """With the tables of the profile wiped, all inks give one colour."""
    _, profile = cmyk(None)
    for tag in range(int.from_bytes(profile[128:132])):
        name, at, size = struct.unpack_from(">4sII", profile, 132 + 12 * tag)
        if name.startswith(b"A2B"):
            profile = patched(profile, at + 2048, bytes(size - 2048))
    assert np.ptp(images.read(stored(tmp_path, cmyk(profile)[0])).pixels, axis=(0, 1)).max() <= 1


@pytest.mark.parametrize("suffix", EVERY_SUFFIX)
def test_the_bytes_of_a_file_are_the_picture_in_it(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    images.write(path, Picture(pixels=PHOTO, icc=SRGB))
    found, wanted = images.decode(path.read_bytes()), images.read(path)
    assert np.array_equal(found.pixels, wanted.pixels)
    assert (found.icc, found.format) == (wanted.icc, wanted.format)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "cut"])
def test_bytes_that_are_no_picture_are_refused_without_a_path(content):
    with pytest.raises(InputUnreadable) as caught:
        images.decode(content)
    assert caught.value.path is None
