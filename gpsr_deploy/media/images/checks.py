"""What libvips leaves unchecked in picture files and in the metadata they carry. Bytes and open files, no pixels."""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import BinaryIO

from gpsr_deploy.errors import InputUnreadable

SUBFILE, COMPRESSION, PHOTOMETRIC, ORIENTATION, TILE_WIDTH, EXIF = 254, 259, 262, 274, 322, 34665
"""Tags of TIFF 6.0, which EXIF shares."""

_BLOCK_BYTES = 1 << 20
_EXIF_PREFIX = b"Exif\0\0"
_AGAIN = "copy or download the file again"


def png_size(file: BinaryIO) -> tuple[int, int]:
    """Height and width that a PNG claims."""
    file.seek(16)
    width, height = struct.unpack(">II", _exactly(file, 8))
    return height, width


def png_chunks(file: BinaryIO, *, last: bytes) -> dict[bytes, bytes]:
    """The chunks of a PNG up to the first `last`: type -> up to 8 bytes that the first of that type begins with.

    Every CRC is checked, since libpng passes over damage in chunks that it can do without.
    """
    chunks: dict[bytes, bytes] = {}
    file.seek(8)
    while last not in chunks:
        length, kind = struct.unpack(">I4s", _exactly(file, 8))
        crc = zlib.crc32(kind)
        for start in range(0, max(length, 1), _BLOCK_BYTES):
            block = _exactly(file, min(length - start, _BLOCK_BYTES))
            crc = zlib.crc32(block, crc)
            chunks.setdefault(kind, block[:8])
        if crc != int.from_bytes(_exactly(file, 4)):
            raise InputUnreadable(f"the PNG chunk {kind!r} fails its checksum", remedy=_AGAIN)
    return chunks


def tiff_directory(file: BinaryIO) -> tuple[str, dict[int, tuple[int, int]]]:
    """Byte order (`<` or `>`) and first directory of a TIFF or BigTIFF: tag -> (position of the entry, first value).

    The value means something for integers of up to 4 bytes only, and not where several do not fit into the entry.
    The file is left at the link to the next directory.
    """
    file.seek(0)
    order = {b"II": "<", b"MM": ">"}.get(_exactly(file, 2), "")
    (version,) = struct.unpack(f"{order}H", _exactly(file, 2))
    if not order or version not in (42, 43):
        raise InputUnreadable("the TIFF header is damaged")
    offset, entries, entry, value_at = ("I", "H", 12, 8) if version == 42 else ("4xQ", "Q", 20, 12)
    (position,) = struct.unpack(order + offset, _exactly(file, struct.calcsize(order + offset)))
    file.seek(min(position, 1 << 62))
    (count,) = struct.unpack(order + entries, _exactly(file, struct.calcsize(order + entries)))
    position = file.tell()
    directory = {}
    for start in range(position, position + min(count, 1 << 16) * entry, entry):
        data = _exactly(file, entry)
        tag, kind = struct.unpack_from(f"{order}HH", data)
        width = {1: "B", 3: "H"}.get(kind, "I")
        directory[tag] = (start, struct.unpack_from(order + width, data, value_at)[0])
    return order, directory


def icc_intact(icc: bytes) -> bool:
    """Whether header and tag table hold together (ICC.1:2022, 7.2 and 7.3), by the rules of libpng and Little CMS.

    An encoder drops a profile that does not, or fails over it, when all the work is done.
    """
    if len(icc) < 132 or int.from_bytes(icc[:4]) != len(icc) or icc[36:40] != b"acsp":
        return False
    major, kind, connection, intent = icc[8], icc[12:16], icc[20:24], int.from_bytes(icc[64:68])
    if not 2 <= major <= 5 or (major > 3 and len(icc) % 4) or intent > 0xFFFE:
        return False
    if kind not in (b"mntr", b"scnr", b"prtr", b"spac") or connection not in (b"XYZ ", b"Lab "):
        return False
    tags = int.from_bytes(icc[128:132])
    if 132 + 12 * tags > len(icc):
        return False
    places = (struct.unpack_from(">II", icc, 136 + 12 * tag) for tag in range(tags))
    return all(offset + size <= len(icc) for offset, size in places)


def icc_space(icc: bytes) -> bytes:
    """Colour space that the profile is for, `RGB ` or `GRAY` among others."""
    return icc[16:20]


def upright_exif(exif: bytes) -> bytes | None:
    """The EXIF block with orientation 1, as the pixels have, and no thumbnail, as it has not; None if it is damaged."""
    block = bytearray(exif.removeprefix(_EXIF_PREFIX))
    stream = io.BytesIO(block)
    try:
        order, directory = tiff_directory(stream)
    except InputUnreadable:
        return None
    link = slice(stream.tell(), stream.tell() + 4)
    block[link] = bytes(len(block[link]))
    if ORIENTATION in directory:
        struct.pack_into(f"{order}HHIHH", block, directory[ORIENTATION][0], ORIENTATION, 3, 1, 1, 0)
    return _EXIF_PREFIX + bytes(block)


def upright_xmp(xmp: bytes) -> bytes:
    """The XMP packet with orientation 1, if it names any."""
    return re.sub(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)[2-8]""", rb"\g<1>1", xmp)


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise InputUnreadable("the file ends too early", expected="a whole picture", remedy=_AGAIN)
    return data
