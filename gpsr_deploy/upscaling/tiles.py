"""Tile geometry: pure, in LR pixels. No arrays, no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gpsr_deploy.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One tile along one axis: it reads [start, stop) and its part [keep_start, keep_stop) reaches the output."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """How a picture is cut: every row span with every column span is one tile.

    All tiles have one size, every start is a multiple of `multiple_of`, and the keeps partition the picture. Spans may
    end beyond `height` and `width`, up to the next multiple: the caller pads there by replication.
    """

    height: int
    width: int
    rows: tuple[Span, ...]
    cols: tuple[Span, ...]

    @property
    def tile(self) -> tuple[int, int]:
        """(height, width) of each tile."""
        return self.rows[0].stop - self.rows[0].start, self.cols[0].stop - self.cols[0].start

    @property
    def padded(self) -> tuple[int, int]:
        """(height, width) of the picture once it is padded to what the tiles read."""
        return self.rows[-1].stop, self.cols[-1].stop

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __iter__(self) -> Iterator[tuple[Span, Span]]:
        """(row, column) of each tile, row by row from the top."""
        for row in self.rows:
            for col in self.cols:
                yield row, col


def round_up(value: int, multiple_of: int) -> int:
    """The smallest multiple of `multiple_of` that is not below `value`."""
    return -(-value // multiple_of) * multiple_of


def plan_axis(length: int, *, tile: int, halo: int, multiple_of: int = 3) -> tuple[Span, ...]:
    """Cuts [0, length) into spans of `tile` with `halo` of context on each inner side.

    The last tile moves inward so that it ends at the (rounded up) edge. Raises UsageError where the sizes are no
    multiples of `multiple_of`, or where a tile of this size would be all halo.
    """
    if length < 1 or halo < 0 or tile < 1:
        raise UsageError(f"length {length}, tile {tile}, overlap {halo}", expected="positive sizes")
    if tile % multiple_of or halo % multiple_of:
        raise UsageError(f"tile {tile} with overlap {halo}", expected=f"multiples of {multiple_of}")
    padded = round_up(length, multiple_of)
    if tile >= padded:
        return (Span(start=0, stop=padded, keep_start=0, keep_stop=length),)
    stride = tile - 2 * halo
    if stride < multiple_of:
        raise UsageError(
            f"a tile of {tile} with an overlap of {halo} keeps nothing",
            expected=f"a tile of at least {2 * halo + multiple_of}",
            remedy="a larger --tile or a smaller --overlap",
        )
    last = padded - tile
    starts = [*range(0, last, stride), last]
    inner = [start + tile - halo for start in starts[:-1]]
    edges = [0, *inner, length]
    return tuple(
        Span(start=start, stop=start + tile, keep_start=begin, keep_stop=end)
        for start, begin, end in zip(starts, edges[:-1], edges[1:], strict=True)
    )


def plan(height: int, width: int, *, tile: tuple[int, int], halo: int, multiple_of: int = 3) -> TilePlan:
    """The plan of a whole picture, for tiles of `tile` = (height, width)."""
    rows = plan_axis(height, tile=tile[0], halo=halo, multiple_of=multiple_of)
    cols = plan_axis(width, tile=tile[1], halo=halo, multiple_of=multiple_of)
    return TilePlan(height=height, width=width, rows=rows, cols=cols)


def whole(height: int, width: int, *, multiple_of: int = 3) -> TilePlan:
    """The plan of one tile that is the picture."""
    tile = round_up(height, multiple_of), round_up(width, multiple_of)
    return plan(height, width, tile=tile, halo=0, multiple_of=multiple_of)


def fit(
    height: int,
    width: int,
    *,
    halo: int,
    multiple_of: int = 3,
    max_pixels: int,
    min_keep: int = 3,
    max_height: int | None = None,
) -> tuple[int, int]:
    """The (height, width) of tiles of at most `max_pixels` that reads the fewest pixels in all.

    A tile keeps at least `min_keep` pixels a side, and is at most `max_height` high where that leaves a choice. Where not
    even the smallest such tile fits, that one is returned: the caller learns from the run whether it does.
    """
    smallest = round_up(2 * halo + min_keep, multiple_of)
    heights = _equal_tiles(height, smallest, halo=halo, multiple_of=multiple_of)
    widths = _equal_tiles(width, smallest, halo=halo, multiple_of=multiple_of)
    low = {h: count for h, count in heights.items() if max_height is None or h <= max_height}
    heights = low or {min(heights): heights[min(heights)]}
    fitting = [(h, w) for h in heights for w in widths if h * w <= max_pixels]
    if not fitting:
        return min(smallest, max(heights)), min(smallest, max(widths))
    return min(fitting, key=lambda tile: heights[tile[0]] * tile[0] * widths[tile[1]] * tile[1])


def _equal_tiles(length: int, smallest: int, *, halo: int, multiple_of: int) -> dict[int, int]:
    """How many tiles of a size cover `length`, by size: those of 1, 2, 3 ... equal shares, none below `smallest`."""
    padded = round_up(length, multiple_of)
    counts = {padded: 1}
    for shares in range(2, padded // multiple_of + 1):
        tile = round_up(-(-(padded + 2 * halo * (shares - 1)) // shares), multiple_of)
        if smallest <= tile < padded:
            counts[tile] = -(-(padded - 2 * halo) // (tile - 2 * halo))
    return counts
