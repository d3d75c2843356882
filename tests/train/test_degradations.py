"""Degradations: MATLAB's, to the last 8-bit pixel, at every scale."""

import matlab
import numpy as np
import pytest
import torch

import degradations
from degradations import degrade


def as_batch(image, dtype=torch.float64):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["as in the loss", "as LR is made"])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_imresize_is_matlabs_to_the_last_8_bit_pixel(photo, scale, dtype):
    hr = photo[:, :240]
    found = degradations.to_8_bit(degradations.imresize(as_batch(hr, dtype) / 255.0, scale))[0]
    wanted = np.clip(np.floor(matlab.imresize(hr / 255.0, scale) * 255 + 0.5), 0, 255)
    assert np.count_nonzero(found.permute(1, 2, 0).numpy() != wanted) == 0


def test_imresize_of_a_picture_smaller_than_its_kernel_mirrors_it_again(photo):
    hr = photo[:8, :16] / 255.0
    found = degradations.imresize(as_batch(hr), 8)[0].permute(1, 2, 0).numpy()
    assert found == pytest.approx(matlab.imresize(hr, 8), abs=1e-12)  # 34 products per axis in float64


def test_8_bit_rounds_half_up_and_clips():
    values = torch.tensor([-1.0, 0.0, 0.4999, 0.5, 1.4999, 1.5, 254.5, 255.0, 300.0], dtype=torch.float64)
    assert degradations.to_8_bit(values / 255).tolist() == [0, 0, 0, 1, 1, 2, 255, 255, 255]


# --- BD ---


def rcan_bd(image, scale):
    """LR of RCAN's imresize_BD at an even scale: blur_HR(scale/2 : scale : end, ...), counted from 1."""
    blurred = matlab.imfilter_gaussian(image, 12 if scale % 2 == 0 else 7, 1.6)
    return blurred[scale // 2 - 1 :: scale, scale // 2 - 1 :: scale] if scale % 2 == 0 else blurred[1::3, 1::3]


@pytest.mark.parametrize("scale", [3, 4, 8])
def test_bd_is_the_blur_and_the_pixels_of_the_published_script(photo, scale):
    hr = photo[:240, :240]
    found = degradations.to_8_bit(degrade(as_batch(hr) / 255.0, scale, "bd"))[0].permute(1, 2, 0).numpy()
    assert np.count_nonzero(found != matlab.to_8_bit(rcan_bd(hr / 255.0, scale))) == 0


@pytest.mark.parametrize("scale", [4, 8])
def test_bd7_is_a_gaussian_of_7x7_and_then_imresize(photo, scale):
    hr = photo[:, :240]
    found = degradations.to_8_bit(degrade(as_batch(hr) / 255.0, scale, "bd7"))[0].permute(1, 2, 0).numpy()
    wanted = matlab.imresize(matlab.imfilter_gaussian(hr / 255.0, 7, 1.6), scale)
    assert np.count_nonzero(found != matlab.to_8_bit(wanted)) == 0


@pytest.mark.parametrize("degradation", ["bi", "bd", "bd7"])
@pytest.mark.parametrize("scale", [4, 8])
def test_every_degradation_keeps_the_place_of_what_it_shows(degradation, scale):
    """A ramp along both axes becomes, away from the border, the same ramp at the middles of the cells: no shift."""
    size = 12 * scale
    ramp = torch.arange(size, dtype=torch.float64).expand(1, 1, size, size)
    both = torch.cat([ramp, ramp.transpose(2, 3)], dim=1)
    found = degrade(both, scale, degradation)[:, :, 4:-4, 4:-4]
    middles = (torch.arange(12, dtype=torch.float64) * scale + (scale - 1) / 2)[4:-4]
    assert (found[0, 0] - middles).abs().max() < 1e-9  # sums of 12 products up to 96 in float64
    assert (found[0, 1] - middles[:, None]).abs().max() < 1e-9


@pytest.mark.gpu
@pytest.mark.parametrize("degradation", ["bi", "bd", "bd7"])
def test_a_gpu_makes_the_same_lr(photo, degradation):
    batch = as_batch(photo[:, :240]) / 255.0
    here, there = (degradations.to_8_bit(degrade(batch.to(device), 4, degradation)).cpu() for device in ("cpu", "cuda"))
    assert (here.int() - there.int()).abs().max() <= 1
    assert (here != there).float().mean() <= 1e-3
