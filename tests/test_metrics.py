"""PSNR, SSIM and luma against values worked out by hand and against the formulas."""

import math

import numpy as np
import pytest

from gpsr_deploy.metrics import luma, psnr, ssim


def picture(seed, height=24, width=30):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("rgb", "y"),
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 16 + 65.481),
        ((0, 255, 0), 16 + 128.553),
        ((0, 0, 255), 16 + 24.966),
        ((255, 255, 0), 16 + 65.481 + 128.553),
        ((128, 128, 128), 16 + 219 * 128 / 255),
    ],
    ids=str,
)
def test_luma_of_known_colours_is_that_of_bt601(rgb, y):
    found = luma(np.full((2, 3, 3), rgb, np.uint8))
    assert found.shape == (2, 3)
    assert found == pytest.approx(np.full((2, 3), y), abs=1e-12)  # float64, values up to 235


def test_a_grey_picture_is_compared_as_it_is():
    """Without Y's compression to [16, 235], as in published figures: one level on every pixel is 20 log10 255."""
    grey = picture(0)[:, :, 0] // 2
    assert np.array_equal(luma(grey), grey)
    assert psnr(grey + 1, grey, shave=0) == pytest.approx(20 * math.log10(255), abs=1e-12)


def test_psnr_of_a_known_difference():
    """One green level on one pixel in four: the mean square error is (128.553 / 255)^2 / 4."""
    hr = np.full((2, 2, 3), 100, np.uint8)
    sr = hr.copy()
    sr[0, 1, 1] += 1
    assert psnr(sr, hr, shave=0) == pytest.approx(10 * math.log10(255**2 * 4 / (128.553 / 255) ** 2), abs=1e-9)


def test_psnr_of_black_against_white_spans_the_limited_range():
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    assert psnr(black, white, shave=1) == pytest.approx(20 * math.log10(255 / 219), abs=1e-12)


def test_equal_pictures_have_infinite_psnr_and_ssim_one():
    assert psnr(picture(0), picture(0), shave=2) == math.inf
    assert ssim(picture(0), picture(0), shave=2) == 1.0


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_shave_cuts_that_many_pixels_from_each_side_and_no_more(metric):
    sr, hr, shave = picture(0), picture(1), 4
    border = sr.copy()
    border[shave:-shave, shave:-shave] = hr[shave:-shave, shave:-shave]
    assert metric(border, hr, shave=shave) in (math.inf, 1.0)
    for y, x in ((shave, shave), (-shave - 1, -shave - 1)):
        inside = border.copy()
        inside[y, x] ^= 255
        assert metric(inside, hr, shave=shave) not in (math.inf, 1.0)


def test_ssim_is_the_formula_of_wang():
    """Every 11x11 window that lies inside, weighted by a Gaussian of sigma 1.5; C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2."""
    hr = picture(2, 26, 22)
    sr = (hr * 0.7 + picture(3, 26, 22) * 0.3).astype(np.uint8)
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / bell.sum() ** 2
    shave, c1, c2 = 3, (0.01 * 255) ** 2, (0.03 * 255) ** 2
    a, b = luma(sr)[shave:-shave, shave:-shave], luma(hr)[shave:-shave, shave:-shave]
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            x, y = a[top : top + 11, left : left + 11], b[top : top + 11, left : left + 11]
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            cov = (weights * (x - mx) * (y - my)).sum()
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert ssim(sr, hr, shave=shave) == pytest.approx(np.mean(values), abs=1e-12)  # float64 in another order
