"""Layers by their equations: the gradient map, and bicubic as a depthwise convolution."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpsr_deploy.network.layers import GRADIENT_EPS, DepthwiseBicubic, gradient_map


def test_gradient_map_is_equations_8_and_9():
    """Differences of the neighbours left and right, above and below; zero beyond the edge."""
    image = np.random.default_rng(0).random((2, 3, 5, 7))
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    dx = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    dy = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    found = gradient_map(torch.from_numpy(image)).numpy()
    assert found == pytest.approx(np.sqrt(dx**2 + dy**2 + GRADIENT_EPS), abs=1e-15)  # values up to 1.5 in float64


def test_gradient_map_of_a_flat_region_has_a_finite_derivative():
    image = torch.full((1, 3, 5, 5), 0.5, requires_grad=True)
    gradient_map(image).sum().backward()
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (3, 6), (12, 9)], ids=str)
def test_depthwise_bicubic_is_torchs_bicubic(scale, size):
    lr = torch.rand(2, 3, *size, dtype=torch.float64)
    wanted = F.interpolate(lr, scale_factor=scale, mode="bicubic", align_corners=False)
    assert (DepthwiseBicubic(scale)(lr) - wanted).abs().max() <= 1e-12  # 25 products of float64
