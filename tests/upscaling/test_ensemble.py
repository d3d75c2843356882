"""The self-ensemble is the mean of what a backend makes of eight flips and rotations, each turned back."""

import numpy as np
import pytest

from gpsr_deploy.spec import SRSpec
from gpsr_deploy.upscaling.ensemble import SelfEnsemble

SPEC = SRSpec(
    name="fake", scale=2, halo=3, multiple_of=3, tiling="aligned", dtype="fp32", checkpoint_sha256="0" * 64
)  # fmt: skip


class Fake:
    """Pixels repeated and multiplied by `pattern`, which has a value per place where pictures are not treated alike."""

    spec, profile, runtime, precision, device, bytes_per_pixel = SPEC, None, "fake", "fp32", "cpu", 100

    def __init__(self, *, uneven=False):
        self.uneven = uneven
        self.seen = []
        self.closed = 0

    def infer(self, batch):
        assert batch.flags.c_contiguous
        self.seen.append(batch)
        sr = batch.repeat(2, axis=2).repeat(2, axis=3)
        if self.uneven:
            sr = sr * (np.arange(sr.shape[2])[:, None] + 2 * np.arange(sr.shape[3])).astype(np.float32)
        return sr

    def close(self):
        self.closed += 1


def eighths(*shape):
    """Random multiples of 1/8: sums and means of eight of them are exact."""
    return (np.random.default_rng(0).integers(0, 8, shape) / 8).astype(np.float32)


BATCH = eighths(2, 3, 6, 9)

EIGHT = [
    (flip_y, flip_x, transpose) for flip_y in (False, True) for flip_x in (False, True) for transpose in (False, True)
]


def turned(batch, flip_y, flip_x, transpose):
    axes = [axis for axis, flipped in ((2, flip_y), (3, flip_x)) if flipped]
    batch = np.flip(batch, axes)
    return batch.swapaxes(2, 3) if transpose else batch


def turned_back(batch, flip_y, flip_x, transpose):
    batch = batch.swapaxes(2, 3) if transpose else batch
    return np.flip(batch, [axis for axis, flipped in ((2, flip_y), (3, flip_x)) if flipped])


def test_of_a_backend_that_treats_all_directions_alike_it_is_that_backend():
    assert np.array_equal(SelfEnsemble(Fake()).infer(BATCH), Fake().infer(BATCH))


def test_it_is_the_mean_of_all_eight():
    backend = Fake(uneven=True)
    eight = [turned_back(backend.infer(np.ascontiguousarray(turned(BATCH, *way))), *way) for way in EIGHT]
    assert len({result.tobytes() for result in eight}) == 8
    assert np.array_equal(SelfEnsemble(Fake(uneven=True)).infer(BATCH), sum(eight) / 8)


def test_the_backend_sees_each_of_the_eight_once():
    backend = Fake()
    SelfEnsemble(backend).infer(BATCH)
    seen = {(batch.shape, batch.tobytes()) for batch in backend.seen}
    assert len(backend.seen) == 8
    assert seen == {(turned(BATCH, *way).shape, turned(BATCH, *way).tobytes()) for way in EIGHT}


def test_it_is_a_backend_with_memory_of_its_own():
    batch, backend = BATCH.copy(), Fake(uneven=True)
    ensemble = SelfEnsemble(backend)
    first = ensemble.infer(batch)
    kept = first.copy()
    ensemble.infer(1 - batch)
    assert first.dtype == np.float32
    assert np.array_equal(first, kept)
    assert np.array_equal(batch, BATCH)
    assert ensemble.spec is backend.spec
    assert (ensemble.profile, ensemble.runtime, ensemble.device) == (None, "fake", "cpu")
    assert ensemble.bytes_per_pixel > backend.bytes_per_pixel  # it holds a sum besides


def test_closing_it_closes_the_backend():
    backend = Fake()
    with SelfEnsemble(backend):
        pass
    assert backend.closed == 1


@pytest.mark.parametrize("flip", [2, 3])
def test_its_result_turns_with_the_picture(flip):
    """Whatever the backend does: the mean over the eight has no preferred direction."""
    ensemble = SelfEnsemble(Fake(uneven=True))
    assert np.array_equal(np.flip(ensemble.infer(BATCH), flip), ensemble.infer(np.flip(BATCH, flip)))
