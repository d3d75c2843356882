"""The paper's loss, by hand; its terms can be left out."""

import matlab
import numpy as np
import pytest
import torch

import losses
from gpsr_deploy.network.layers import GRADIENT_EPS


def as_batch(image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]


def g(image):
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    dx, dy = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    return np.sqrt(dx**2 + dy**2 + GRADIENT_EPS)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.001), (0.0, 0.001), (0.1, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("levels", [2, 3], ids=["x4", "x8"])
def test_the_loss_is_the_papers_by_hand(levels, alpha, beta):
    """L1(SR, HR) + 0.1 sum_s L1(G_s, g(down(HR))) + 0.001 L1(g(SR), g(HR)), in numpy; Table 2 leaves terms out."""
    random = np.random.default_rng(0)
    sr, hr = random.random((2, 24, 16, 3))
    maps = [random.random((24 >> smaller, 16 >> smaller, 3)) for smaller in reversed(range(levels))]
    labels = [g(matlab.imresize(hr, 1 << smaller)) if smaller else g(hr) for smaller in reversed(range(levels))]
    wanted = (
        np.abs(sr - hr).mean()
        + alpha * sum(np.abs(found - label).mean() for found, label in zip(maps, labels, strict=True))
        + beta * np.abs(g(sr) - g(hr)).mean()
    )
    batches = as_batch(sr), [as_batch(found) for found in maps], as_batch(hr)
    assert losses.gpsr_loss(*batches, alpha=alpha, beta=beta).item() == pytest.approx(wanted, abs=1e-12)  # float64


def test_the_papers_weights_are_the_default():
    batches = torch.rand(1, 3, 8, 8), [torch.rand(1, 3, 4, 4), torch.rand(1, 3, 8, 8)], torch.rand(1, 3, 8, 8)
    assert torch.equal(losses.gpsr_loss(*batches), losses.gpsr_loss(*batches, alpha=0.1, beta=0.001))


def test_a_network_without_gradient_branch_has_no_maps_to_pay_for():
    sr, hr = torch.rand(2, 1, 3, 8, 8)
    assert torch.equal(losses.gpsr_loss(sr, [], hr), losses.gpsr_loss(sr, [], hr, alpha=0.0))
