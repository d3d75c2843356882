"""Quality: LR as MATLAB makes it, and a loss that is there."""

import matlab
import numpy as np
import pytest
from neighbours import SCALE, Neighbours

from gpsr_deploy.proof import quality


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("shape", [(48, 64, 3), (32, 40), (8, 16, 3)])
def test_lr_is_matlabs(photo, scale: int, shape):
    hr = photo[: shape[0], : shape[1]] if len(shape) == 3 else photo[: shape[0], : shape[1], 0]
    wanted = matlab.imresize(np.atleast_3d(hr).astype(np.float64), scale).reshape(-1)
    found = quality.reduced(hr, scale)
    assert found.shape[:2] == (shape[0] // scale, shape[1] // scale)
    assert np.abs(found.reshape(-1) - np.clip(wanted, 0, 255)).max() <= 0.5 + 1e-9


def test_a_pair_is_cropped_to_what_can_be_reduced(photo):
    found = quality.pair(photo[:50, :67], 4)
    assert found.hr.shape == (48, 64, 3) and found.lr.shape == (12, 16, 3)
    assert np.array_equal(found.hr, photo[:48, :64])


def test_what_adds_an_error_loses_as_much_as_it_adds(photo):
    class Worse(Neighbours):
        def infer(self, batch):
            return super().infer(batch) + np.float32(0.05)

    pairs = [quality.pair(photo, SCALE)]
    exact, worse = quality.psnr_db(Neighbours(), pairs), quality.psnr_db(Worse(), pairs)
    assert 15 < worse < exact - 0.5 < 60
