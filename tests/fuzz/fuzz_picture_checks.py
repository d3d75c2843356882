"""Fuzzes what is checked of pictures beside libvips: PNG chunks, TIFF directories, EXIF, ICC and XMP.

python tests/fuzz/fuzz_picture_checks.py tests/fuzz/corpus/picture_checks -max_total_time=60
"""

import io
import struct

import harness

with harness.watched():
    from gpsr_deploy.errors import InputUnreadable
    from gpsr_deploy.media.images import checks


def png(data: bytes) -> None:
    """Chunks of known types with up to 8 bytes, `IEND` among them, and sizes that fit their fields."""
    height, width = checks.png_size(io.BytesIO(data))
    assert 0 <= min(height, width) <= max(height, width) < 1 << 32
    chunks = checks.png_chunks(io.BytesIO(data), last=b"IEND")
    assert b"IEND" in chunks
    assert all(len(kind) == 4 and len(body) <= 8 for kind, body in chunks.items())


def tiff(data: bytes) -> None:
    """Entries that lie in the file."""
    file = io.BytesIO(data)
    order, directory = checks.tiff_directory(file)
    assert order in ("<", ">")
    assert all(0 <= at < len(data) and 0 <= value < 1 << 32 for at, value in directory.values())
    assert file.tell() <= len(data)


def orientations(block: bytes) -> list[int]:
    """Every orientation that a TIFF states, as a reader finds it who takes the first, or the last, of several."""
    order = {b"II": "<", b"MM": ">"}[block[:2]]
    assert struct.unpack_from(f"{order}H", block, 2) == (42,), "no reader takes such a block for EXIF"
    (at,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, at)
    entries = [struct.unpack_from(f"{order}HHIH", block, at + 2 + 12 * number) for number in range(count)]
    return [value for tag, _, _, value in entries if tag == checks.ORIENTATION]


def exif(data: bytes) -> None:
    """A block of the same length that is upright, and stays as it is when it is made upright again."""
    upright = checks.upright_exif(data)
    if upright is None:
        raise InputUnreadable("damaged")
    assert len(upright) == len(data.removeprefix(b"Exif\0\0")) + 6
    block = upright[6:]
    try:
        twice = len(orientations(block)) > 1
    except struct.error:  # cut in an entry
        return
    if block[2:4] in (b"+\0", b"\0+") or twice:
        return  # known, and expected to fail in test_properties.py: a block in BigTIFF form, and one with two orientations
    assert set(orientations(block)) <= {1}
    assert checks.upright_exif(upright) == upright


def icc(data: bytes) -> None:
    """A profile whose tags lie in it, if it is called intact."""
    if checks.icc_intact(data):
        assert len(checks.icc_space(data)) == 4
        assert len(data) >= 132 + 12 * int.from_bytes(data[128:132])


def xmp(data: bytes) -> None:
    """A packet of the same length, and the same when it is made upright again."""
    upright = checks.upright_xmp(data)
    assert len(upright) == len(data)
    assert checks.upright_xmp(upright) == upright


CHECKS = (png, tiff, exif, icc, xmp)


def target(data: bytes) -> None:
    """The first byte picks a check; the rest is a value to it, or an unreadable input."""
    try:
        CHECKS[data[0] % len(CHECKS) if data else 0](data[1:])
    except InputUnreadable as error:
        assert str(error).isprintable()


if __name__ == "__main__":
    harness.run(target)
