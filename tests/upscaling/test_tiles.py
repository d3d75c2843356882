"""Tile geometry: keeps partition the axis, tiles stay on the grid, and the chosen tile is the best that fits."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpsr_deploy.errors import UsageError
from gpsr_deploy.upscaling.tiles import fit, plan, plan_axis, round_up, whole

STEPS = st.sampled_from([1, 2, 3, 8])


@st.composite
def axes(draw):
    """(length, tile, halo, multiple_of) that plan_axis accepts."""
    step = draw(STEPS)
    halo = step * draw(st.integers(0, 10))
    tile = 2 * halo + step * draw(st.integers(1, 20))
    return draw(st.integers(1, 500)), tile, halo, step


@given(axes())
def test_keeps_partition_the_axis(axis):
    length, tile, halo, step = axis
    spans = plan_axis(length, tile=tile, halo=halo, multiple_of=step)
    edges = [span.keep_start for span in spans] + [spans[-1].keep_stop]
    assert edges[0] == 0
    assert edges[-1] == length
    assert [span.keep_stop for span in spans] == edges[1:]
    assert all(begin < end for begin, end in zip(edges, edges[1:], strict=False))  # none is empty


@given(axes())
def test_tiles_start_on_the_grid_have_one_size_and_end_at_the_rounded_up_edge(axis):
    length, tile, halo, step = axis
    spans = plan_axis(length, tile=tile, halo=halo, multiple_of=step)
    padded = round_up(length, step)
    assert all(span.start % step == 0 for span in spans)
    assert {span.stop - span.start for span in spans} == {min(tile, padded)}
    assert spans[0].start == 0
    assert spans[-1].stop == padded


@given(axes())
def test_keeps_lie_in_their_tile_with_a_halo_on_each_inner_side(axis):
    length, tile, halo, step = axis
    for span in plan_axis(length, tile=tile, halo=halo, multiple_of=step):
        assert span.start <= span.keep_start < span.keep_stop <= span.stop
        assert span.start == 0 or span.keep_start - span.start >= halo
        assert span.stop >= length or span.stop - span.keep_stop >= halo


@given(st.integers(1, 10_000), STEPS)
def test_round_up_is_the_next_multiple(value, step):
    assert round_up(value, step) in [x for x in range(value, value + step) if x % step == 0]


@pytest.mark.parametrize(
    "sizes",
    [
        {"length": 0},
        {"length": -5},
        {"tile": 0},
        {"tile": -48},
        {"halo": -3},
        {"tile": 49},
        {"halo": 5},
        {"halo": 24},  # all halo
        {"halo": 30},
    ],
    ids=str,
)
def test_bad_sizes_are_refused(sizes):
    arguments = {"length": 100, "tile": 48, "halo": 6, "multiple_of": 3} | sizes
    with pytest.raises(UsageError):
        plan_axis(arguments.pop("length"), **arguments)


@given(st.integers(1, 200), st.integers(1, 200), axes())
def test_a_plan_is_every_row_with_every_column(height, width, axis):
    _, tile, halo, step = axis
    found = plan(height, width, tile=(tile, tile + step), halo=halo, multiple_of=step)
    covered = [
        (y, x)
        for row, col in found
        for y in (row.keep_start, row.keep_stop - 1)
        for x in (col.keep_start, col.keep_stop - 1)
    ]
    assert len(found) == len(list(found)) == len(found.rows) * len(found.cols)
    assert covered[0] == (0, 0)
    assert covered[-1] == (height - 1, width - 1)
    assert found.tile == (min(tile, round_up(height, step)), min(tile + step, round_up(width, step)))
    assert found.padded == (round_up(height, step), round_up(width, step))


@given(st.integers(1, 500), st.integers(1, 500), STEPS)
def test_whole_is_one_tile_that_keeps_the_picture(height, width, step):
    ((row, col),) = whole(height, width, multiple_of=step)
    assert (row.keep_start, row.keep_stop, col.keep_start, col.keep_stop) == (0, height, 0, width)


def pixels_read(height, width, tile, halo):
    found = plan(height, width, tile=tile, halo=halo)
    return len(found) * found.tile[0] * found.tile[1]


PICTURES = {
    "height": st.integers(1, 90),
    "width": st.integers(1, 90),
    "halo": st.sampled_from([0, 3, 6, 12]),
    "max_pixels": st.integers(9, 9000),
}


@given(**PICTURES)
def test_fit_respects_max_pixels_where_any_tile_does(height, width, halo, max_pixels):
    tile = fit(height, width, halo=halo, max_pixels=max_pixels)
    actual = plan(height, width, tile=tile, halo=halo).tile
    smallest = tuple(min(2 * halo + 3, round_up(side, 3)) for side in (height, width))
    assert actual[0] * actual[1] <= max_pixels or actual == smallest


@given(**PICTURES)
@example(height=19, width=19, halo=0, max_pixels=24)
@example(height=114, width=34, halo=3, max_pixels=481)
def test_fit_reads_the_fewest_pixels_of_all_tiles_that_fit(height, width, halo, max_pixels):
    padded = round_up(height, 3), round_up(width, 3)
    every = [
        (tile_height, tile_width)
        for tile_height in range(min(2 * halo + 3, padded[0]), padded[0] + 1, 3)
        for tile_width in range(min(2 * halo + 3, padded[1]), padded[1] + 1, 3)
        if tile_height * tile_width <= max_pixels
    ]
    best = min((pixels_read(height, width, tile, halo) for tile in every), default=None)
    found = pixels_read(height, width, fit(height, width, halo=halo, max_pixels=max_pixels), halo)
    assert best is None or found == best


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 12), st.integers(1, 900))
def test_fit_keeps_tiles_low_where_that_leaves_a_choice(height, width, halo, highest):
    halo *= 3
    tile = fit(height, width, halo=halo, max_pixels=10**6, max_height=highest)
    lowest = min(round_up(2 * halo + 3, 3), round_up(height, 3))
    assert tile[0] <= max(highest, lowest)
    assert fit(height, width, halo=halo, max_pixels=10**6, max_height=10**6) == fit(
        height, width, halo=halo, max_pixels=10**6
    )
