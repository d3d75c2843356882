"""Planes to RGB and back: against the equations of H.273 in float64, and as properties."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from films import SCALE, shrunk
from hypothesis import given
from hypothesis import strategies as st

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media.video import tags
from gpsr_deploy.media.video.colour import PEAK, WEIGHTS, Coding, to_planes, to_rgb

CODINGS = [
    Coding(matrix=matrix, full=full, bits=bits, chroma=(1, 1))
    for matrix, full, bits in itertools.product(("601", "709", "2020", "240m", "fcc"), (False, True), (8, 10, 12))
]


def every_colour() -> np.ndarray:
    """RGB in [0, 1], (H, W, 3): a grid of all of it, its corners included, and thousands at random."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 18)] * 3), axis=-1).reshape(-1, 3)
    random = np.random.default_rng(0).random((65**2 - len(grid) % 65**2, 3))
    colours = np.concatenate([grid, random])
    return colours[: len(colours) // 65 * 65].reshape(-1, 65, 3)


def by_the_book(rgb: np.ndarray, coding: Coding) -> tuple[np.ndarray, ...]:
    """Y, Cb and Cr, not rounded, from RGB in [0, 1]: H.273, equations 20 to 38."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    kr, kb = WEIGHTS[coding.matrix]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = 0.5 * (blue - luma) / (1 - kb), 0.5 * (red - luma) / (1 - kr)
    if coding.full:
        top = 2**coding.bits - 1
        return luma * top, cb * top + 2 ** (coding.bits - 1), cr * top + 2 ** (coding.bits - 1)
    step = 2 ** (coding.bits - 8)
    return step * (219 * luma + 16), step * (224 * cb + 128), step * (224 * cr + 128)


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_planes_are_the_equations_rounded(coding: Coding):
    rgb = np.rint(every_colour() * PEAK).astype(np.uint16)
    for plane, exact in zip(to_planes(rgb, coding), by_the_book(rgb / PEAK, coding), strict=True):
        assert np.abs(plane - np.clip(exact, 0, coding.top)).max() <= 0.5 + 1e-3 * (1 << (coding.bits - 8))


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_rgb_of_planes_is_the_colour_they_were_made_of(coding: Coding):
    wanted = every_colour()
    planes = tuple(np.clip(np.rint(plane), 0, coding.top).astype(coding.dtype) for plane in by_the_book(wanted, coding))
    # Rounding moves each of Y, Cb, Cr by half a level at most; the weight of chroma in a colour is up to 1.9.
    levels = (1 << coding.bits) - 1 if coding.full else 219 << (coding.bits - 8)
    assert np.abs(to_rgb(planes, coding) / PEAK - wanted).max() <= (0.5 + 2 * 0.5) / levels + 1e-4


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_every_colour_returns_within_one_level_after_nearest_and_the_mean(coding: Coding):
    planes = tuple(
        np.clip(np.rint(plane), 0, coding.top).astype(coding.dtype) for plane in by_the_book(every_colour(), coding)
    )
    sr = to_rgb(planes, coding).repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    for before, after in zip(planes, shrunk(to_planes(sr, coding)), strict=True):
        assert np.abs(before - after).max() <= 1


def test_rgb_and_grey_return_exactly():
    random = np.random.default_rng(0)
    for bits in (8, 10, 12):
        rgb = Coding(matrix="rgb", full=True, bits=bits, chroma=(1, 1))
        planes = tuple(random.integers(0, 1 << bits, (7, 9)).astype(rgb.dtype) for _ in range(3))
        assert all(map(np.array_equal, planes, to_planes(to_rgb(planes, rgb), rgb)))
        grey = Coding(matrix="709", full=True, bits=bits, chroma=None)
        assert np.array_equal(planes[0], to_planes(to_rgb(planes[:1], grey), grey)[0])


def test_black_and_white_and_what_lies_beyond():
    coding = Coding(matrix="709", full=False, bits=8, chroma=(1, 1))
    luma = np.array([[0, 16, 126, 235, 255]], np.uint8)
    neutral = np.full_like(luma, 128)
    assert to_rgb((luma, neutral, neutral), coding)[0].tolist()[:2] == [[0] * 3] * 2
    assert to_rgb((luma, neutral, neutral), coding)[0].tolist()[3:] == [[PEAK] * 3] * 2


@given(
    height=st.integers(1, 9), width=st.integers(1, 9), chroma=st.sampled_from([(2, 2), (1, 2), (2, 1), (1, 1), None]),
    siting=st.sampled_from(["left", "centre", "top-left"]), level=st.integers(16, 235),
)  # fmt: skip
def test_flat_frames_of_any_size_stay_flat(height, width, chroma, siting, level):
    coding = Coding(matrix="709", full=False, bits=8, chroma=chroma, siting=siting)
    planes = tuple(
        np.full(size, value, np.uint8)
        for size, value in zip(coding.sizes(height, width), (level, 128, 128), strict=False)
    )
    rgb = to_rgb(planes, coding)
    assert rgb.shape == (height, width, 3)
    again = to_planes(rgb, coding)
    assert [plane.shape for plane in again] == [plane.shape for plane in planes]
    assert all(map(np.array_equal, planes, again))


@pytest.mark.parametrize("siting", ["left", "centre", "top-left"])
@pytest.mark.parametrize("axis", [0, 1])
def test_chroma_lies_where_its_siting_says(siting: str, axis: int):
    """A ramp of chroma over luma's positions, sampled where chroma sits, is that ramp again, both ways."""
    offset = {"left": (0.5, 0.0), "centre": (0.5, 0.5), "top-left": (0.0, 0.0)}[siting][axis]
    coding = Coding(matrix="709", full=True, bits=12, siting=siting)
    positions = 2 * np.arange(16) + offset
    shape = (16, 1) if axis == 0 else (1, 16)
    chroma = np.broadcast_to((2048 + 20 * positions).reshape(shape), (16, 16)).astype(np.uint16)
    planes = (np.full((32, 32), 2048, np.uint16), chroma, np.full((16, 16), 2048, np.uint16))
    dense = replace(coding, chroma=(1, 1))
    everywhere = to_planes(to_rgb(planes, coding), dense)[1].astype(int)
    ramp = 2048 + 20 * np.arange(32)
    line = everywhere[:, 7] if axis == 0 else everywhere[7]
    assert np.abs(line - ramp)[2:-2].max() <= 1
    back = to_planes(to_rgb(planes, coding), coding)[1].astype(int)
    assert np.abs(back - chroma)[1:-1, 1:-1].max() <= 1


@pytest.mark.parametrize("siting", ["left", "centre", "top-left"])
def test_strips_leave_no_seams(siting: str, monkeypatch: pytest.MonkeyPatch):
    rgb = np.random.default_rng(1).integers(0, PEAK, (31, 22, 3)).astype(np.uint16)
    coding = Coding(matrix="709", full=False, bits=10, siting=siting)
    whole = to_planes(rgb, coding)
    monkeypatch.setattr("gpsr_deploy.media.video.colour._STRIP", 22 * 4)
    assert all(map(np.array_equal, whole, to_planes(rgb, coding)))


@pytest.mark.parametrize(
    ("height", "width", "matrix"),
    [(1080, 1920, "709"), (720, 1280, "709"), (536, 1280, "709"), (576, 720, "601"), (180, 320, "601")],
)
def test_untagged_films_go_by_their_size(height: int, width: int, matrix: str):
    coding, told = tags.coding_of("yuv420p", matrix=2, colour_range=0, height=height, width=width)
    assert (coding.matrix, coding.full, told) == (matrix, False, False)


def test_tags_beat_the_size_and_yuvj_is_full():
    coding, told = tags.coding_of("yuvj420p", matrix=1, colour_range=0, height=100, width=100)
    assert (coding.matrix, coding.full, told) == ("709", True, True)
    assert tags.coding_of("yuv420p", matrix=2, colour_range=0, height=9, width=9, assumed="2020")[0].matrix == "2020"


@pytest.mark.parametrize("matrix", [8, 10, 14])
def test_matrices_that_are_none_are_refused(matrix: int):
    with pytest.raises(InputUnreadable, match=f"matrix {matrix}"):
        tags.coding_of("yuv420p", matrix=matrix, colour_range=1, height=9, width=9)


@pytest.mark.parametrize("pixel_format", ["yuva420p", "rgba", "pal8", "ya8"])
def test_alpha_is_refused(pixel_format: str):
    with pytest.raises(InputUnreadable, match="alpha"):
        tags.coding_of(pixel_format, matrix=2, colour_range=0, height=9, width=9)


def test_pixel_formats_have_one_name_each():
    for name, coding in tags.PLANAR.items():
        assert tags.pixel_format(coding) == name
