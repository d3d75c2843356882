"""The tile loop: tiled equals whole, exact sizes, memory that runs out, results that are not finite, and arrays of users."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpsr_deploy.errors import ModelRefused, NonFinite, OutOfMemory, UsageError
from gpsr_deploy.spec import Profile, SRSpec
from gpsr_deploy.upscaling.tiles import round_up
from gpsr_deploy.upscaling.upscale import (
    MAX_HALVINGS,
    MOST_WORKING_MEMORY,
    SMALLEST_KEEP,
    WORKING_MEMORY,
    Tiling,
    plan_for,
    upscale,
)
from gpsr_deploy.upscaling.upscaler import Upscaler

SCALE, STEP = 2, 3
TINTS = np.array([1.0, 0.5, 0.25], np.float32).reshape(1, 3, 1, 1)


@dataclass
class Blur:
    """Mean of a square of `radius`, each colour tinted, each of the STEP x STEP places of the grid too; pixels repeated.

    As a convolution with zero padding does, it takes what lies beyond a batch as black. Each pixel is the same sum in the
    same order wherever a tile begins, so results of tiles can be compared bit for bit.
    """

    radius: int = 0
    halo: int = 6
    tint: bool = True
    profile: Profile | None = None
    tiling: str = "aligned"
    max_pixels: float = math.inf
    """Memory runs out above this many pixels of a batch."""
    failure: type = OutOfMemory
    bytes_per_pixel: int = 1000
    runtime: str = "blur"
    precision: str = "fp32"
    device: str = "cpu"
    shapes: list = field(default_factory=list)
    """Of every batch that was asked for."""
    closed: int = 0

    @property
    def spec(self):
        return SRSpec(
            name="blur",
            scale=SCALE,
            halo=self.halo,
            multiple_of=STEP,
            tiling=self.tiling,
            dtype="fp32",
            checkpoint_sha256="0" * 64,
        )

    def infer(self, batch):
        assert batch.dtype == np.float32
        assert batch.shape[1] == 3
        assert batch.shape[2] % STEP == batch.shape[3] % STEP == 0
        self.shapes.append(batch.shape)
        if batch[:, 0].size > self.max_pixels:
            raise self.failure("fake")
        height, width = batch.shape[2:]
        padded = np.pad(batch, ((0, 0), (0, 0), (self.radius,) * 2, (self.radius,) * 2))
        side = 2 * self.radius + 1
        blurred = np.zeros_like(batch)
        for dy in range(side):
            for dx in range(side):
                blurred += padded[:, :, dy : dy + height, dx : dx + width]
        blurred /= side**2
        if self.tint:
            places = np.arange(height)[:, None] % STEP + np.arange(width) % STEP
            blurred *= TINTS * (1 - places.astype(np.float32) / 8)
        return blurred.repeat(SCALE, axis=2).repeat(SCALE, axis=3)

    def close(self):
        self.closed += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def picture(height, width, dtype=np.uint8, *, grey=False):
    random = np.random.default_rng(height * 1000 + width)
    shape = (height, width) if grey else (height, width, 3)
    return (
        random.random(shape, np.float32)
        if dtype is np.float32
        else random.integers(0, np.iinfo(dtype).max, shape, dtype, True)
    )


WHOLE = Tiling(whole=True)

ANY_IMAGE = pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
ANY_DTYPE = pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])


# --- what comes out ---


@ANY_IMAGE
@ANY_DTYPE
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 40), (17, 31), (100, 75)], ids=str)
def test_tiled_is_whole_bit_for_bit(size, dtype, grey):
    lr = picture(*size, dtype, grey=grey)
    whole = upscale(Blur(radius=6), lr, tiling=WHOLE).sr
    tiled = upscale(Blur(radius=6), lr, tiling=Tiling(tile=(36, 36)))
    assert tiled.sr.shape == (size[0] * SCALE, size[1] * SCALE, *lr.shape[2:])
    assert tiled.sr.dtype == dtype
    assert np.array_equal(tiled.sr, whole)
    assert len(tiled.plan) > 1 or max(size) < 75


@settings(max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(24, 60), st.integers(24, 60), st.sampled_from([3, 6, 9]))
def test_tiled_is_whole_at_any_size(height, width, tile_height, tile_width, halo):
    lr = picture(height, width)
    tiled = upscale(Blur(radius=3), lr, tiling=Tiling(tile=(tile_height, tile_width), halo=halo, batch=3)).sr
    assert np.array_equal(tiled, upscale(Blur(radius=3), lr, tiling=WHOLE).sr)


def test_a_halo_below_the_radius_shows():
    lr = picture(100, 75)
    found = upscale(Blur(radius=6), lr, tiling=Tiling(tile=(36, 36), halo=3)).sr
    assert not np.array_equal(found, upscale(Blur(radius=6), lr, tiling=WHOLE).sr)


@ANY_IMAGE
@ANY_DTYPE
def test_values_that_a_network_does_not_change_come_back_exactly(dtype, grey):
    every = (
        np.linspace(0, 1, 65536, dtype=np.float32)
        if dtype is np.float32
        else np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    )
    lr = every.reshape(-1, 64 if every.size > 256 else 16)
    lr = lr if grey else np.dstack([lr, lr[::-1], lr[:, ::-1]])
    sr = upscale(Blur(tint=False), lr).sr
    wanted = lr.repeat(SCALE, 0).repeat(SCALE, 1)
    if dtype is np.float32 and grey:  # the mean of three equal values is rounded
        assert np.abs(sr - wanted).max() <= 2**-23
    else:
        assert np.array_equal(sr, wanted)


def test_a_grey_picture_is_the_mean_of_its_colours():
    grey = picture(20, 20, np.float32, grey=True)
    colour = upscale(Blur(), np.dstack([grey] * 3)).sr
    assert upscale(Blur(), grey).sr == pytest.approx(colour.mean(axis=2), abs=2**-23)  # a float32 mean of three


@pytest.mark.parametrize(("value", "level"), [(-0.5, 0), (1.5, 255), (127.45 / 255, 127), (127.55 / 255, 128)])
def test_values_are_clipped_and_rounded(value, level):
    backend = Blur()
    backend.infer = lambda batch: np.full((len(batch), 3, batch.shape[2] * 2, batch.shape[3] * 2), value, np.float32)
    assert np.all(upscale(backend, picture(6, 6)).sr == level)


@ANY_IMAGE
def test_a_picture_that_is_no_multiple_is_extended_by_its_last_pixels(grey):
    lr = picture(17, 31, grey=grey)
    extended = np.pad(lr, ((0, 1), (0, 2), (0, 0))[: lr.ndim], mode="edge")
    assert np.array_equal(
        upscale(Blur(radius=3), lr).sr, upscale(Blur(radius=3), extended).sr[: 17 * SCALE, : 31 * SCALE]
    )


# --- how it is cut ---


def test_batches_of_tiles_give_the_same_as_one_by_one():
    lr = picture(100, 75)
    single, batched = Blur(radius=6), Blur(radius=6)
    one = upscale(single, lr, tiling=Tiling(tile=(36, 36)))
    five = upscale(batched, lr, tiling=Tiling(tile=(36, 36), batch=5))
    assert np.array_equal(one.sr, five.sr)
    assert single.shapes == [(1, 3, 36, 36)] * len(one.plan)
    assert [shape[0] for shape in batched.shapes] == [5, 5, 2]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_progress_counts_the_tiles_up_to_all(batch):
    calls = []
    plan = upscale(
        Blur(),
        picture(100, 75),
        tiling=Tiling(tile=(36, 36), batch=batch),
        on_progress=lambda *call: calls.append(call),
    ).plan
    assert calls == [(min(done, len(plan)), len(plan)) for done in range(batch, len(plan) + batch, batch)]


def test_tile_and_overlap_are_rounded_up_to_what_the_network_needs():
    found = upscale(Blur(), picture(100, 100), tiling=Tiling(tile=(50, 1), halo=4))
    assert found.halo == 6
    assert found.plan.tile == (51, 2 * 6 + SMALLEST_KEEP)


def test_a_network_that_needs_whole_pictures_gets_them():
    backend = Blur(radius=6, tiling="whole")
    upscale(backend, picture(100, 75), tiling=Tiling(tile=(36, 36)))
    assert backend.shapes == [(1, 3, 102, 75)]


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_of_no_tiles_is_refused(batch):
    """It would return memory that nothing was written to."""
    with pytest.raises(UsageError):
        upscale(Blur(), picture(60, 60), tiling=Tiling(tile=(36, 36), batch=batch))


# --- memory ---


@given(
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.integers(0, 1 << 31),
    st.sampled_from([100, 5000, 50_000]),
    st.integers(1, 4),
)
def test_a_tile_chosen_by_memory_stays_within_the_budget(height, width, available, bytes_per_pixel, batch):
    backend = Blur(bytes_per_pixel=bytes_per_pixel)
    plan, halo = plan_for(backend, height, width, tiling=Tiling(batch=batch), available=available)
    smallest = tuple(min(2 * halo + SMALLEST_KEEP, round_up(side, STEP)) for side in (height, width))
    used = math.prod(plan.tile) * batch * bytes_per_pixel
    assert used <= min(WORKING_MEMORY, available // 2) or math.prod(plan.tile) <= math.prod(smallest)


def test_memory_that_a_picture_leaves_goes_to_its_tiles_within_a_limit():
    backend = Blur(bytes_per_pixel=5000)

    def pixels(spare):
        plan, _ = plan_for(backend, 3000, 3000, tiling=Tiling(), available=1 << 40, spare=spare)
        return math.prod(plan.tile)

    assert pixels(0) * 5000 <= WORKING_MEMORY < pixels(200 << 20) * 5000 <= WORKING_MEMORY + (200 << 20)
    assert pixels(1 << 40) * 5000 <= MOST_WORKING_MEMORY


@given(st.integers(50, 500), st.integers(50, 500), st.integers(0, 10_000_000))
def test_a_tile_chosen_by_memory_is_not_almost_all_overlap(height, width, available):
    backend = Blur(halo=24, bytes_per_pixel=1000)
    plan, halo = plan_for(backend, height, width, tiling=Tiling(), available=available)
    for tile, side in zip(plan.tile, (height, width), strict=True):
        assert tile >= min(2 * halo + SMALLEST_KEEP, round_up(side, STEP))


def test_memory_that_runs_out_halves_the_tile_and_gives_what_a_run_at_that_tile_gives():
    """The blur reaches beyond the halo, so that another tile would give other pixels."""
    lr, calls = picture(200, 150), []
    short = Blur(radius=9, max_pixels=60 * 60)
    found = upscale(short, lr, tiling=Tiling(tile=(150, 150)), on_progress=lambda *call: calls.append(call))
    wanted = upscale(Blur(radius=9), lr, tiling=Tiling(tile=found.plan.tile))
    assert short.shapes[0] == (1, 3, 150, 150)
    assert math.prod(found.plan.tile) <= 60 * 60
    assert wanted.plan == found.plan
    assert np.array_equal(found.sr, wanted.sr)
    assert calls[-1] == (len(found.plan),) * 2


def test_memory_that_runs_out_in_mid_picture_leaves_nothing_of_the_larger_tile():
    lr, backend = picture(200, 150), Blur(radius=9)
    infer = backend.infer

    def third_call_fails(batch):
        if len(backend.shapes) == 2:
            backend.shapes.append(batch.shape)
            raise OutOfMemory("fake")
        return infer(batch)

    backend.infer = third_call_fails
    found = upscale(backend, lr, tiling=Tiling(tile=(99, 99)))
    assert found.plan.tile == (51, 99)
    assert np.array_equal(found.sr, upscale(Blur(radius=9), lr, tiling=Tiling(tile=(51, 99))).sr)


@pytest.mark.parametrize("failure", [OutOfMemory, MemoryError])
def test_it_gives_up_after_six_halvings(failure):
    backend = Blur(halo=0, max_pixels=0, failure=failure)
    with pytest.raises(OutOfMemory, match=r"error\[6\]"):
        upscale(backend, picture(768, 768), tiling=Tiling(tile=(768, 768)))
    pixels = [shape[2] * shape[3] for shape in backend.shapes]
    assert pixels == [768 * 768 >> halvings for halvings in range(MAX_HALVINGS + 1)]
    assert MAX_HALVINGS == 6


def test_it_gives_up_where_a_smaller_tile_would_be_almost_all_overlap():
    backend = Blur(halo=24, max_pixels=0)
    with pytest.raises(OutOfMemory):
        upscale(backend, picture(100, 72), tiling=Tiling(tile=(100, 72)))
    assert backend.shapes == [(1, 3, 102, 72), (1, 3, 72, 72)]


@pytest.mark.parametrize(
    ("backend", "tiling"), [(Blur(max_pixels=0), WHOLE), (Blur(max_pixels=0, tiling="whole"), None)]
)
def test_what_must_not_be_cut_is_not_cut_when_memory_runs_out(backend, tiling):
    with pytest.raises(OutOfMemory):
        upscale(backend, picture(300, 300), tiling=tiling)
    assert set(backend.shapes) == {(1, 3, 300, 300)}


# --- profiles ---

PROFILE = Profile(min=(48, 48), opt=(60, 90), max=(90, 120), batch=2)


def test_an_engine_gets_its_best_size_and_at_most_its_batch():
    backend = Blur(profile=PROFILE)
    found = upscale(backend, picture(150, 200), tiling=Tiling(batch=8))
    assert found.plan.tile == PROFILE.opt
    assert {shape[2:] for shape in backend.shapes} == {PROFILE.opt}
    assert [shape[0] for shape in backend.shapes] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize(
    ("size", "tiling"),
    [((200, 300), Tiling(tile=(93, 60))), ((200, 300), Tiling(tile=(60, 36))), ((93, 60), WHOLE), ((45, 60), WHOLE)],
    ids=str,
)
def test_sizes_beyond_the_profile_are_refused_with_what_was_built(size, tiling):
    backend = Blur(profile=PROFILE)
    with pytest.raises(ModelRefused, match="48x48 to 90x120"):
        upscale(backend, picture(*size), tiling=tiling)
    assert backend.shapes == []


def test_halving_never_leaves_the_profile():
    backend = Blur(profile=PROFILE, max_pixels=0)
    with pytest.raises(OutOfMemory):
        upscale(backend, picture(200, 300))
    for shape in backend.shapes:
        assert all(low <= side <= high for low, side, high in zip(PROFILE.min, shape[2:], PROFILE.max, strict=True))


# --- results that are none ---


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("y", "x"), [(0, 0), (50, 40), (99, 74)])
def test_one_value_that_is_not_finite_is_an_error_with_its_place(value, y, x):
    """Cast to 8 bits it would be a black pixel."""
    lr = picture(100, 75, np.float32) * np.float32(0.5)
    lr[y, x, 1] = 1
    backend = Blur(tint=False)
    infer = backend.infer
    backend.infer = lambda batch: np.where(infer(batch) == 1, np.float32(value), infer(batch))
    plan, _ = plan_for(backend, 100, 75, tiling=Tiling(tile=(36, 36)))
    row, col = next((row, col) for row, col in plan if row.start <= y < row.stop and col.start <= x < col.stop)
    with pytest.raises(NonFinite, match=rf"error\[5\].* row {row.start}, column {col.start} ") as caught:
        upscale(backend, lr, tiling=Tiling(tile=(36, 36), batch=2))
    assert caught.value.exit_code == 5


def test_infinities_of_both_signs_do_not_cancel():
    backend = Blur()
    backend.infer = lambda batch: (
        np.where(np.arange(batch.shape[3] * 2) % 2, np.inf, -np.inf).astype(np.float32)
        + np.zeros((1, 3, batch.shape[2] * 2, batch.shape[3] * 2), np.float32)
    )
    with pytest.raises(NonFinite):
        upscale(backend, picture(6, 6))


# --- arrays of users ---


def test_the_result_owns_its_memory_and_the_input_is_not_changed():
    backend, buffer, lr = Blur(), np.empty((1, 3, 24, 24), np.float32), picture(12, 12)
    infer = backend.infer

    def into_one_buffer(batch):
        buffer[:] = infer(batch)
        return buffer

    backend.infer = into_one_buffer
    before = lr.copy()
    first = upscale(backend, lr).sr
    kept = first.copy()
    upscale(backend, 255 - lr)
    assert np.array_equal(first, kept)
    assert np.array_equal(lr, before)
    for order in ("rgb", "bgr"):
        sr = Upscaler(backend)(lr, order=order)
        assert sr.base is None
        assert sr.flags.owndata
        assert sr.flags.writeable
        assert sr.flags.c_contiguous


def test_bgr_is_rgb_with_its_channels_turned_in_and_out():
    lr, upscaler = picture(17, 31), Upscaler(Blur(radius=3))
    assert np.array_equal(upscaler(lr[:, :, ::-1], order="bgr")[:, :, ::-1], upscaler(lr))
    assert not np.array_equal(upscaler(lr, order="bgr"), upscaler(lr))
    grey = picture(17, 31, grey=True)
    assert np.array_equal(upscaler(grey, order="bgr"), upscaler(grey))


@ANY_DTYPE
def test_dlpack_is_taken_as_numpy_is(dtype):
    lr, upscaler = picture(17, 31, dtype), Upscaler(Blur(radius=3))
    found = upscaler(torch.from_numpy(lr))
    assert isinstance(found, np.ndarray)
    assert found.dtype == dtype
    assert np.array_equal(found, upscaler(lr))


def test_any_memory_layout_is_read():
    lr, upscaler = picture(34, 62, np.uint16), Upscaler(Blur(radius=3))
    frozen = lr.copy()
    frozen.setflags(write=False)
    for array in (frozen, np.asfortranarray(lr), lr.astype(">u2")):
        assert np.array_equal(upscaler(array), upscaler(lr))
    assert np.array_equal(upscaler(lr[::2, ::-2]), upscaler(lr[::2, ::-2].copy()))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((6, 6, 3)),
        np.zeros((6, 6, 3), np.float16),
        np.zeros((6, 6, 3), np.int16),
        np.zeros((6, 6, 3), bool),
        np.zeros((6, 6, 4), np.uint8),
        np.zeros((6, 6, 1), np.uint8),
        np.zeros((1, 6, 6, 3), np.uint8),
        np.zeros(6, np.uint8),
        np.zeros((0, 6, 3), np.uint8),
        [[1, 2], [3, 4]],
        None,
        "picture.png",
        torch.zeros(6, 6, 3, requires_grad=True),
        torch.zeros(6, 6, 3, dtype=torch.bfloat16),
    ],
    ids=lambda array: f"{type(array).__name__} {getattr(array, 'dtype', '')} {list(getattr(array, 'shape', ''))}",
)
def test_other_arrays_are_refused(array):
    with pytest.raises(UsageError, match=r"error\[2\]"):
        Upscaler(Blur())(array)


def test_another_order_is_refused():
    with pytest.raises(UsageError, match="rgb or bgr"):
        Upscaler(Blur())(picture(6, 6), order="gbr")


def test_an_upscaler_closes_its_backend():
    backend = Blur()
    with Upscaler(backend) as upscaler:
        assert upscaler.backend is backend
        assert backend.closed == 0
    assert backend.closed == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 255.0, -5.0])
def test_floats_that_are_no_picture_are_the_callers_error(value):
    lr = picture(6, 6, np.float32)
    lr[2, 3, 1] = value
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        upscale(Blur(), lr)
