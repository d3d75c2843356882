"""Colours under transparency: replaced by those nearest to them that are seen, and never read."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gpsr_deploy.media import images

SIZES = [(1, 1), (1, 9), (7, 1), (2, 2), (17, 31), (64, 64), (100, 37)]


def disc(height: int, width: int) -> np.ndarray:
    """Alpha of a soft disc with much nothing around."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.clip((0.4 - np.hypot(y, x)) * 2000, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_bleed_touches_only_what_is_hidden_and_never_reads_it(
    size: tuple[int, int], dtype: type, channels: tuple[int, ...]
) -> None:
    random = np.random.default_rng(4)
    top = np.iinfo(dtype).max
    pixels, garbage = random.integers(0, top, (2, *size, *channels), dtype, endpoint=True)
    alpha = disc(*size).astype(dtype) * (top // 255)
    alpha[0, 0] = 1
    result = images.bleed(pixels, alpha)
    assert (result.shape, result.dtype) == (pixels.shape, dtype)
    assert np.array_equal(result[alpha > 0], pixels[alpha > 0])
    pixels[alpha == 0] = garbage[alpha == 0]
    assert np.array_equal(images.bleed(pixels, alpha), result)
    assert result.max() <= pixels[alpha > 0].max() and result.min() >= pixels[alpha > 0].min()


@pytest.mark.parametrize("size", SIZES)
def test_bleed_carries_one_colour_everywhere(size: tuple[int, int]) -> None:
    alpha = disc(*size)
    alpha[-1, -1] = 200
    pixels = np.where(alpha[..., None] > 0, [200, 3, 77], [0, 255, 0]).astype(np.uint8)
    assert (images.bleed(pixels, alpha) == [200, 3, 77]).all()


@pytest.mark.parametrize("gap", [1, 2, 7, 30])
def test_bleed_takes_the_nearest_colour(gap: int) -> None:
    """A black and a white half with a hidden band between: each side of the band takes after its own neighbour."""
    alpha = np.full((64, 100), 255, np.uint8)
    alpha[:, 50 - gap : 50 + gap] = 0
    pixels = np.full((64, 100), 128, np.uint8)
    pixels[:, : 50 - gap], pixels[:, 50 + gap :] = 0, 255
    result = images.bleed(pixels, alpha)
    assert (result[:, 50 - gap] == 0).all() and (result[:, 49 + gap] == 255).all()


@pytest.mark.parametrize("size", SIZES)
def test_bleed_of_nothing_visible_is_black_and_of_nothing_hidden_is_the_picture(size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 99, np.uint8)
    assert not images.bleed(pixels, np.zeros(size, np.uint8)).any()
    assert images.bleed(pixels, np.ones(size, np.uint8)) is pixels


@pytest.mark.alone
def test_bleed_is_fast() -> None:
    pixels, alpha = np.zeros((1000, 1000, 3), np.uint8), disc(1000, 1000)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        images.bleed(pixels, alpha)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.5
