"""Properties of our small parsers, by hypothesis: whatever the bytes, a value or an unreadable input. Those of specs are in test_spec.py."""

from __future__ import annotations

import io
import struct

import pytest
from faults import made
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpsr_deploy.errors import GpsrError, InputUnreadable, ModelRefused, printable
from gpsr_deploy.media.images import checks
from gpsr_deploy.media.video import y4m
from gpsr_deploy.spec import Costs

CHUNKS = st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.binary(max_size=40)), max_size=8)


@given(CHUNKS)
def test_chunks_of_a_png_are_found_with_the_first_bytes_of_the_first_of_each_type(chunks):
    whole = bytes(8) + b"".join(made.png_chunk(kind, body) for kind, body in [*chunks, (b"IEND", b"")])
    found = checks.png_chunks(io.BytesIO(whole), last=b"IEND")
    wanted: dict[bytes, bytes] = {}
    for kind, body in chunks:
        if b"IEND" not in wanted:
            wanted.setdefault(kind, body[:8])
    assert found == ({b"IEND": b""} | wanted)


@given(CHUNKS, st.data())
def test_one_flipped_bit_in_a_png_is_never_passed_over(chunks, data):
    whole = bytes(8) + b"".join(made.png_chunk(kind, body) for kind, body in [*chunks, (b"IEND", b"")])
    ended = whole.index(b"IEND") + 8  # what follows the first end belongs to no chunk
    place = data.draw(st.integers(8, ended - 1))
    flipped = made.flipped(whole, place, 1 << data.draw(st.integers(0, 7)))
    with pytest.raises(InputUnreadable):
        checks.png_chunks(io.BytesIO(flipped), last=b"IEND")


ENTRIES = st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 14), st.integers(0, 3), st.integers(0, 2**32 - 1)), max_size=20)  # fmt: skip


@given(ENTRIES, st.integers(0, 2**32 - 1))
def test_entries_of_a_tiff_are_found_where_they_stand(entries, following):
    content = made.tiff(entries, data=b"", following=following)
    file = io.BytesIO(content)
    order, found = checks.tiff_directory(file)
    assert order == "<"
    assert file.tell() == len(content) - 4
    for tag, (at, value) in found.items():
        (kind, count, stored) = struct.unpack_from("<HII", content, at + 2)
        assert (tag, kind, count, stored) in entries
        assert value == stored & {1: 0xFF, 3: 0xFFFF}.get(kind, 0xFFFFFFFF)


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda rest: b"II*\0\x08\0\0\0" + rest) | st.binary(max_size=200).map(lambda rest: b"MM\0+\0\x08\0\0" + rest))  # fmt: skip
def test_any_bytes_are_a_tiff_directory_or_unreadable(content):
    try:
        order, found = checks.tiff_directory(io.BytesIO(content))
    except InputUnreadable as error:
        assert str(error).isprintable()
    else:
        assert order in "<>"
        assert all(at + 12 <= len(content) for at, _ in found.values())


@given(ENTRIES)
def test_exif_made_upright_is_upright_has_its_length_and_stays_so(entries):
    block = b"Exif\0\0" + made.tiff(entries, data=b"")
    upright = checks.upright_exif(block)
    assert upright is not None
    assert len(upright) == len(block)
    assert checks.upright_exif(upright) == upright
    _, found = checks.tiff_directory(io.BytesIO(upright[6:]))
    assert found.get(checks.ORIENTATION, (0, 1))[1] == 1


TURNED_TWICE = "of two orientations only the last becomes 1; a block in BigTIFF form keeps its own"


@pytest.mark.xfail(strict=True, reason=TURNED_TWICE)
def test_exif_with_two_orientations_says_upright_whichever_is_read():
    upright = checks.upright_exif(made.tiff([(274, 3, 1, 6), (274, 3, 1, 8)], data=b""))
    assert upright is None or [struct.unpack_from("<H", upright, 6 + 10 + 12 * entry + 8)[0] for entry in range(2)] == [
        1,
        1,
    ]


@pytest.mark.xfail(strict=True, reason=TURNED_TWICE)
def test_exif_in_the_form_of_bigtiff_is_damaged():
    entry = struct.pack("<HHQQ", checks.ORIENTATION, 3, 1, 6)
    assert checks.upright_exif(b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1) + entry + bytes(8)) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_exif_or_none(content):
    upright = checks.upright_exif(content)
    assert upright is None or checks.upright_exif(upright) == upright


TAGS = st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.integers(0, 400), st.integers(0, 400)), max_size=6)


@given(TAGS, st.integers(0, 200))
def test_a_profile_is_intact_only_if_every_tag_lies_in_it(tags, body):
    """Of version 2, in which lengths are no multiples of anything."""
    size = 132 + 12 * len(tags) + body
    head = struct.pack(">I4sI4s4s4s", size, b"test", 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head = (head + bytes(88)) + struct.pack(">I", len(tags))
    icc = head + b"".join(name + struct.pack(">II", at, length) for name, at, length in tags) + bytes(body)
    assert len(icc) == size
    assert checks.icc_intact(icc) == all(at + length <= size for _, at, length in tags)
    assert not checks.icc_intact(icc + b"\0")


@given(st.binary(max_size=400))
def test_any_bytes_are_an_intact_profile_or_not(content):
    assert checks.icc_intact(content) in (True, False)


@given(st.text())
@example('{"params": 1, "macs_720p": 1e309, "activation_bytes": 1}')
def test_any_text_is_costs_or_refused(text):
    try:
        Costs.from_json(text)
    except ModelRefused as error:
        assert str(error).isprintable()


@settings(max_examples=300)
@given(st.text(st.sampled_from("WHFIACX0123456789:. pj420mono"), max_size=40))
def test_any_words_after_the_magic_are_a_format_or_unreadable(words):
    try:
        format = y4m.parse_header(b"YUV4MPEG2 " + words.encode())
    except InputUnreadable as error:
        assert str(error).isprintable()
    else:
        assert format.height > 0
        assert format.width > 0
        assert format.rate > 0


@given(st.text(st.characters(), max_size=700))
def test_what_is_shown_of_any_text_is_one_line_without_control_characters(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 310
    assert str(GpsrError(text)).isprintable()
