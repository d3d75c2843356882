"""y4m and raw video: what is written is read, every header is strict, and no byte of rubbish does anything else than be refused."""

import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from films import moving
from hypothesis import given
from hypothesis import strategies as st

from gpsr_deploy.errors import InputUnreadable, OutputUnwritable, UsageError
from gpsr_deploy.media.video import raw, y4m
from gpsr_deploy.media.video.colour import Coding
from gpsr_deploy.media.video.stream import MAX_FRAME_PIXELS, Format

HEADER = b"YUV4MPEG2 W24 H18 F30000:1001 Ip A8:9 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=FULL"

codings = st.builds(
    Coding,
    matrix=st.just("601"),
    full=st.booleans(),
    bits=st.sampled_from([9, 10, 12]),
    chroma=st.sampled_from([(2, 2), (1, 2), (1, 1), None]),
) | st.builds(
    Coding,
    matrix=st.just("601"),
    full=st.booleans(),
    bits=st.just(8),
    chroma=st.just((2, 2)),
    siting=st.sampled_from(["left", "centre", "top-left"]),
)

formats = st.builds(
    Format,
    height=st.integers(1, 700),
    width=st.integers(1, 1200),
    coding=codings,
    time_base=st.just(Fraction(1, 25)),
    rate=st.fractions(Fraction(1, 100), 1000, max_denominator=1001),
    sample_aspect=st.fractions(Fraction(1, 10), 10, max_denominator=100),
    tagged=st.just(False),
)


def test_a_header_tells_what_it_tells():
    format = y4m.parse_header(HEADER)
    assert (format.height, format.width, format.rate, format.sample_aspect) == (
        18,
        24,
        Fraction(30000, 1001),
        Fraction(8, 9),
    )
    assert format.coding == Coding(matrix="601", full=True, bits=8)
    assert format.time_base == Fraction(1001, 30000)


@given(formats)
def test_what_is_written_is_read(format: Format):
    line = y4m.header(format)
    assert y4m.parse_header(line[:-1]) == replace(format, time_base=1 / format.rate)


@given(st.binary(max_size=80))
def test_rubbish_is_refused(content: bytes):
    for begin in (b"", y4m.MAGIC, HEADER[:40], HEADER + b"\nFRAME"):
        try:
            for _ in y4m.Y4mSource(io.BytesIO(begin + content)).frames():
                pass
        except InputUnreadable:
            pass


@given(st.integers(0, len(HEADER) - 1), st.integers(0, 255))
def test_a_changed_byte_of_a_header_is_refused_or_means_something(place: int, value: int):
    line = bytearray(HEADER)
    line[place] = value
    try:
        format = y4m.parse_header(bytes(line))
    except InputUnreadable:
        return
    assert format.height * format.width <= MAX_FRAME_PIXELS


@pytest.mark.parametrize(
    "line",
    [
        b"YUV4MPEG2",
        b"YUV4MPEG2 H18 F25:1",
        b"YUV4MPEG2 W24 H18",
        b"YUV4MPEG2 W24 H18 F0:0",
        b"YUV4MPEG2 W24 H18 F25:0",
        b"YUV4MPEG2 W0 H18 F25:1",
        b"YUV4MPEG2 W-4 H18 F25:1",
        b"YUV4MPEG2 W99999 H99999 F25:1",
        b"YUV4MPEG2 W9999999999 H18 F25:1",
        b"YUV4MPEG2 W24 W25 H18 F25:1",
        b"YUV4MPEG2 W24 H18 F25:1 It",
        b"YUV4MPEG2 W24 H18 F25:1 C411",
        b"YUV4MPEG2 W24 H18 F25:1 C444alpha",
        b"YUV4MPEG2 W24 H18 F25:1 C420p16",
        b"YUV4MPEG2 W24 H18 F25:1 XCOLORRANGE=BROAD",
    ],
)
def test_headers_that_cannot_be_served_are_refused(line: bytes):
    with pytest.raises(InputUnreadable):
        y4m.parse_header(line)


def test_a_header_without_an_end_is_not_read_for_ever():
    stream = io.BytesIO(y4m.MAGIC + b"X" * 10**7)
    with pytest.raises(InputUnreadable, match="over"):
        y4m.Y4mSource(stream)
    assert stream.tell() <= y4m.MAX_LINE


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("chroma", [(2, 2), (1, 2), (1, 1), None])
def test_frames_return_bit_for_bit(bits: int, chroma):
    frames = moving(3, height=17, width=23, bits=bits, chroma=chroma)
    format = Format(
        height=17, width=23, coding=Coding(matrix="601", full=False, bits=bits, chroma=chroma), time_base=Fraction(1, 25),
        rate=Fraction(25),
    )  # fmt: skip
    written = io.BytesIO()
    sink = y4m.Y4mSink(written, format)
    for planes in frames:
        sink.write(planes, 0)
    written.seek(0)
    source = y4m.Y4mSource(written)
    read = list(source.frames())
    assert [frame.pts for frame in read] == [0, 1, 2]
    assert source.format.coding == format.coding
    for frame, planes in zip(read, frames, strict=True):
        assert all(map(np.array_equal, frame.planes, planes))


def y4m_bytes(count: int = 2) -> bytes:
    frames = moving(count)
    return HEADER + b"\n" + b"".join(b"FRAME\n" + b"".join(p.tobytes() for p in planes) for planes in frames)


@given(st.integers(len(HEADER) + 2, len(y4m_bytes()) - 1))
def test_a_stream_that_ends_in_a_frame_is_refused_after_the_frames_before(length: int):
    size = len(y4m_bytes(2)) - len(y4m_bytes(1))
    whole, rest = divmod(length - len(HEADER) - 1, size)
    read = []
    source = y4m.Y4mSource(io.BytesIO(y4m_bytes()[:length]))
    if rest == 0:
        assert len(list(source.frames())) == whole
        return
    with pytest.raises(InputUnreadable):
        read.extend(source.frames())
    assert len(read) == whole


def test_deep_samples_beyond_their_bits_are_refused():
    content = b"YUV4MPEG2 W1 H1 F25:1 Cmono10\nFRAME\n\xff\xff"
    with pytest.raises(InputUnreadable, match="10 bits"):
        list(y4m.Y4mSource(io.BytesIO(content)).frames())


def test_short_reads_are_put_together():
    class Slow(io.BytesIO):
        def readinto(self, view):
            return super().readinto(view[:7])

    assert len(list(y4m.Y4mSource(Slow(y4m_bytes())).frames())) == 2


def test_what_y4m_cannot_hold_is_refused():
    rgb = Format(
        height=2,
        width=2,
        coding=Coding(matrix="rgb", full=True, bits=8, chroma=(1, 1)),
        time_base=Fraction(1),
        rate=Fraction(1),
    )
    with pytest.raises(OutputUnwritable):
        y4m.header(rgb)


@pytest.mark.parametrize("name", raw.NAMES)
def test_raw_frames_return_bit_for_bit_and_nothing_is_added(name: str):
    format = raw.format_of(name, height=6, width=10, rate=Fraction(25))
    content = np.random.default_rng(0).integers(0, format.coding.top + 1, format.coding.frame_bytes(6, 10) * 3 // np.dtype(format.coding.dtype).itemsize)  # fmt: skip
    content = content.astype(format.coding.dtype).tobytes()
    written = io.BytesIO()
    sink = raw.RawSink(written, format)
    frames = list(raw.RawSource(io.BytesIO(content), format).frames())
    for frame in frames:
        sink.write(frame.planes, frame.pts)
    assert len(frames) == 3
    assert written.getvalue() == content
    with pytest.raises(InputUnreadable, match="inside frame 2"):
        list(raw.RawSource(io.BytesIO(content[:-1]), format).frames())


def test_packed_rgb_is_red_green_blue():
    format = raw.format_of("rgb24", height=1, width=2, rate=Fraction(25))
    (frame,) = raw.RawSource(io.BytesIO(bytes([1, 2, 3, 4, 5, 6])), format).frames()
    assert [plane.tolist() for plane in frame.planes] == [[[1, 4]], [[2, 5]], [[3, 6]]]


def test_raw_formats_that_are_none_are_refused():
    with pytest.raises(UsageError, match="nv12"):
        raw.format_of("nv12", height=1, width=2, rate=Fraction(25))
