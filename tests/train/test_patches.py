"""Patches: pure functions of seed and index, uniform, turned in eight ways, LR and HR of the same place."""

import numpy as np
import pytest
import torch

import degradations
import patches
from data import Photograph
from patches import Patches, place

CPU = torch.device("cpu")
SIZES = np.array([[12, 15], [9, 30], [20, 9]])


def photograph(photo, *, height, width, scale):
    hr = torch.from_numpy(np.ascontiguousarray(photo[: height * scale, : width * scale].transpose(2, 0, 1)))
    lr = degradations.to_8_bit(degradations.imresize(hr[None] / 255.0, scale))[0]
    return Photograph(name="x", hr=hr, lr=lr)


@pytest.fixture(scope="module")
def photographs(photo):
    """Of three sizes and places."""
    return [photograph(photo[40 * i :], height=h, width=w, scale=4) for i, (h, w) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def source(photographs):
    return Patches(photographs, scale=4, patch=9, device=CPU)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_sample_is_a_pure_function_of_seed_and_index(source):
    first = source.batch(seed=0, first=4, count=4)
    np.random.seed(7)
    torch.manual_seed(7)
    assert same(source.batch(seed=0, first=4, count=4), first)
    alone = [source.batch(seed=0, first=number, count=1) for number in range(4, 8)]
    assert same([torch.cat(parts) for parts in zip(*alone, strict=True)], first)
    assert not same(source.batch(seed=0, first=8, count=4), first)
    assert not same(source.batch(seed=1, first=4, count=4), first)


def test_samples_lie_everywhere_equally_often():
    """Of 72,000 placements each picture, each turn and each corner of each picture has its share, within 5 sigma."""
    count = 72_000
    placed = place(seed=3, first=0, count=count, sizes=SIZES, patch=9)

    def require_uniform(values, outcomes):
        seen = np.bincount(values, minlength=outcomes)
        assert len(seen) == outcomes
        expected = len(values) / outcomes
        assert np.abs(seen - expected).max() < 5 * np.sqrt(expected)

    require_uniform(placed.picture, len(SIZES))
    require_uniform(placed.turn, 8)
    for number, (height, width) in enumerate(SIZES):
        here = placed.picture == number
        require_uniform(placed.top[here], height - 9 + 1)
        require_uniform(placed.left[here], width - 9 + 1)
    require_uniform(placed.turn[placed.top == 0], 8)  # the choices are independent


def turned(pixels, turn):
    """What Placements.turn says, by slicing: rows backwards, columns backwards, then rows become columns."""
    pixels = pixels.flip(1) if turn & 1 else pixels
    pixels = pixels.flip(2) if turn & 2 else pixels
    return pixels.transpose(1, 2) if turn & 4 else pixels


@pytest.mark.parametrize("scale", [4, 8])
def test_gathered_patches_are_slices_flipped_and_turned(photo, scale):
    photographs = [photograph(photo, height=h, width=w, scale=scale) for h, w in ((12, 15), (9, 30), (20, 9))]
    source = Patches(photographs, scale=scale, patch=9, device=CPU)
    placed = place(seed=5, first=70, count=64, sizes=source.sizes, patch=9)
    lrs, hrs = source.batch(seed=5, first=70, count=64)
    assert set(placed.turn) == set(range(8))
    assert (lrs.dtype, hrs.dtype) == (torch.float32, torch.float32)
    for number in range(64):
        found = photographs[placed.picture[number]]
        top, left, turn = int(placed.top[number]), int(placed.left[number]), int(placed.turn[number])
        lr = found.lr[:, top : top + 9, left : left + 9]
        hr = found.hr[:, top * scale : (top + 9) * scale, left * scale : (left + 9) * scale]
        assert torch.equal(lrs[number], turned(lr, turn) / 255.0)
        assert torch.equal(hrs[number], turned(hr, turn) / 255.0)


def test_lr_and_hr_of_a_sample_show_the_same_place(source):
    """Away from the patch's border, which sees other neighbours, LR is HR made small and rounded to 8 bits."""
    lr, hr = source.batch(seed=0, first=0, count=32)
    small = degradations.imresize(hr.double(), 4)[:, :, 2:-2, 2:-2]
    assert (small.clamp(0, 1) - lr[:, :, 2:-2, 2:-2]).abs().max() <= (0.5 + 1e-3) / 255


def test_samples_are_turned_in_all_eight_ways():
    """Of a picture whose patch has its brightest pixel near one end of one side."""
    lr = torch.zeros(3, 9, 9, dtype=torch.uint8)
    lr[:, 0, 1] = 255
    only = Photograph(name="x", hr=lr.repeat_interleave(4, 1).repeat_interleave(4, 2), lr=lr)
    found, _ = Patches([only], scale=4, patch=9, device=CPU).batch(seed=0, first=0, count=100)
    assert len({int(patch[0].argmax()) for patch in found}) == 8


def test_a_seed_and_an_index_may_be_large(source):
    source.batch(seed=(1 << 64) - 1, first=1 << 60, count=2)


def test_one_sample_takes_one_block_of_the_generator():
    """Were it more, samples of neighbouring steps would share random words."""
    assert patches.WORDS == 4
    words = np.random.Philox(key=1, counter=0).random_raw(8)
    assert np.array_equal(words[4:], np.random.Philox(key=1, counter=1).random_raw(4))


@pytest.mark.gpu
def test_a_gpu_gathers_the_same_patches(photographs, source):
    there = Patches(photographs, scale=4, patch=9, device=torch.device("cuda"))
    found = there.batch(seed=0, first=4, count=64)
    assert same([part.cpu() for part in found], source.batch(seed=0, first=4, count=64))
