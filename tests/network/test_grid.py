"""Equivariance on the grid of 3: a tile is the whole picture where it lies on the grid and sees the receptive field, only there."""

import pytest
import torch
from networks import EXACT

from gpsr_deploy.network.gpsr import GPSR

RECEPTIVE_FIELD = 147
"""LR pixels per side that `nano` x4 may see: 145, on the grid of 3."""


@pytest.fixture(scope="module")
def strip(wild):
    """A picture of 3 x 414 and its SR: wide enough for tiles with the whole receptive field, cheap in the other axis."""
    lr = torch.rand(1, 3, 3, 414, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return lr, wild(lr)


def tile_error(network: GPSR, strip, *, origin, halo, keep=24):
    """Largest difference from the whole result in the `keep` pixels amid the tile that starts at `origin`."""
    lr, wanted = strip
    with torch.inference_mode():
        tile = network(lr[..., origin : origin + 2 * halo + keep])
    scale = network.config.scale
    kept, there = tile[..., halo * scale :], wanted[..., (origin + halo) * scale :]
    return float((kept - there[..., : kept.shape[-1]])[..., : keep * scale].abs().max())


@pytest.mark.parametrize("origin", [0, 3, 48, 96])
def test_a_tile_on_the_grid_is_the_whole_picture(wild, strip, origin):
    assert tile_error(wild, strip, origin=origin, halo=RECEPTIVE_FIELD) <= EXACT


@pytest.mark.parametrize("origin", [1, 2, 49, 95])
def test_a_tile_off_the_grid_is_wrong_whatever_its_overlap(wild, strip, origin):
    assert tile_error(wild, strip, origin=origin, halo=RECEPTIVE_FIELD) > 1e10 * EXACT


def test_a_tile_with_less_than_the_receptive_field_is_wrong(wild, strip):
    assert tile_error(wild, strip, origin=48, halo=24) > 1e3 * EXACT
