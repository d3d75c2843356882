"""Encoding: lossless formats hold every bit, lossy ones stay close, and what they cannot hold is converted as it should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from picture_files import LINEAR_GREY, LOSSLESS, PHOTO, SHAPES, by_opencv, by_pillow, decibels, together
from PIL import Image
from skimage import data

from gpsr_deploy.errors import UsageError
from gpsr_deploy.media import images
from gpsr_deploy.media.images import Picture


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("with_alpha", [True, False])
def test_png_and_tiff_hold_every_bit(tmp_path: Path, suffix: str, dtype: type, grey: bool, with_alpha: bool) -> None:
    random = np.random.default_rng(5)
    pixels, alpha = (
        random.integers(0, np.iinfo(dtype).max, (31, 17, *rest), dtype, endpoint=True) for rest in ([3], [])
    )
    picture = Picture(
        pixels=pixels[..., 0] if grey else pixels, alpha=alpha if with_alpha else None
    )  # grey: not contiguous
    path = tmp_path / f"out{suffix}"
    images.write(path, picture)
    expected = together(picture)
    assert np.array_equal(together(images.read(path)), expected)
    if suffix == ".tif":
        assert np.array_equal(tifffile.imread(path), expected)
    elif grey and with_alpha:  # which OpenCV expands
        assert np.array_equal(by_opencv(path)[..., [0, 3]], expected)
    else:
        assert np.array_equal(by_opencv(path), expected)
    if dtype == np.uint8:
        assert np.array_equal(by_pillow(path), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".webp"])
def test_lossy_formats_stay_close(tmp_path: Path, suffix: str) -> None:
    path, photo = tmp_path / f"out{suffix}", data.astronaut()
    images.write(path, Picture(pixels=photo))
    others = [images.read(path).pixels, by_pillow(path), by_opencv(path)]
    assert min(decibels(other, photo) for other in others) > (39 if "j" in suffix.lower() else 36)
    images.write(path, Picture(pixels=photo), quality=10, overwrite=True)
    assert decibels(images.read(path).pixels, photo) < 32


@pytest.mark.parametrize("quality", [50, 95])
def test_jpeg_keeps_all_its_colour(tmp_path: Path, quality: int) -> None:
    images.write(tmp_path / "out.jpg", Picture(pixels=PHOTO), quality=quality)
    with Image.open(tmp_path / "out.jpg") as image:
        assert {(vertical, horizontal) for _, vertical, horizontal, _ in image.layer} == {(1, 1)}


@pytest.mark.parametrize("value", [0, 128, 129, 257 * 100 + 128, 257 * 100 + 129, 65535])
def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path, value: int) -> None:
    images.write(tmp_path / "out.jpg", Picture(pixels=np.full((16, 16), value, np.uint16)), quality=100)
    assert (images.read(tmp_path / "out.jpg").pixels == round(value / 257)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("share", "expected"), [(0, 255), (0.2, 204), (1, 0)])
def test_jpeg_is_flattened_on_white(tmp_path: Path, dtype: type, share: float, expected: int) -> None:
    black, top = np.zeros((16, 16, 3), dtype), np.iinfo(dtype).max
    alpha = np.full((16, 16), share * top, dtype)
    images.write(tmp_path / "out.jpg", Picture(pixels=black, alpha=alpha), quality=100)
    assert np.abs(images.read(tmp_path / "out.jpg").pixels.astype(int) - expected).max() <= 1


def test_webp_keeps_alpha_and_converts_a_grey_profile(tmp_path: Path) -> None:
    grey = np.full(SHAPES.shape, 128, np.uint8)
    images.write(tmp_path / "out.webp", Picture(pixels=grey, alpha=SHAPES, icc=LINEAR_GREY))
    read = images.read(tmp_path / "out.webp")
    assert np.array_equal(read.alpha, SHAPES)
    assert np.abs(read.pixels[SHAPES > 0].astype(int) - 188).max() <= 3  # half the light, in sRGB
    assert read.warnings == ()


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_has_bounds(tmp_path: Path, quality: int) -> None:
    with pytest.raises(UsageError):
        images.write(tmp_path / "x.jpg", Picture(pixels=PHOTO), quality=quality)
