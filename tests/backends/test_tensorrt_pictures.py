"""Pictures through engines: those of a plain backend, also through the self-ensemble and after a failure."""

import numpy as np
import pytest
from double_engines import ANY_SCHEDULE, FLAVOURS, Plain, batch_of, opened
from doubles import SCHEDULES

from gpsr_deploy.upscaling.ensemble import SelfEnsemble
from gpsr_deploy.upscaling.upscale import Tiling, upscale
from gpsr_deploy.upscaling.upscaler import Upscaler


@FLAVOURS
@ANY_SCHEDULE
@pytest.mark.parametrize("size", [(6, 6), (40, 33), (61, 130)], ids=str)
def test_pictures_are_those_of_a_plain_backend(gpu, rtx, schedule, size):
    gpu.eager = SCHEDULES[schedule]
    lr = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    with opened(gpu, rtx=rtx) as backend:
        for tiling in (None, Tiling(tile=(30, 30), batch=1), Tiling(tile=(30, 36))):
            assert np.array_equal(upscale(backend, lr, tiling=tiling).sr, upscale(Plain(), lr, tiling=tiling).sr)


def test_the_self_ensemble_runs_over_it(gpu):
    batch = batch_of(2, 9, 12)
    with SelfEnsemble(opened(gpu)) as backend:
        assert np.array_equal(backend.infer(batch), SelfEnsemble(Plain()).infer(batch))
        assert np.array_equal(backend.infer(batch), SelfEnsemble(Plain()).infer(batch))


def test_a_picture_that_fails_half_way_does_not_spoil_the_next(gpu):
    lr = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)

    def stop(done, _):
        if done > 1:
            raise KeyboardInterrupt

    with Upscaler(opened(gpu)) as upscaler:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                upscaler(lr, on_progress=stop)
            assert not gpu._pending()
        assert np.array_equal(upscaler(lr), Upscaler(Plain())(lr))
