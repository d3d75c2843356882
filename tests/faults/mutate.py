"""Mutants of pictures: damage that a disk does, and forgeries that know the format. Pure: a seed gives the same bytes anywhere."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

from faults.made import png_chunk
from faults.seeds import seeds

INTERESTING = (0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 64, 127, 128, 255, 256, 1000, 4096, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)  # fmt: skip

Mutation = Callable[[bytes, random.Random], bytes]


def mutant(kind: str, seed: int) -> bytes:
    """The mutant of this number of a format."""
    chance = random.Random(f"{kind} {seed}")
    content = chance.choice(seeds(kind))
    forge = FORGERS[kind]
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        change = forge if chance.random() < 0.5 else chance.choice(DAMAGES)
        content = change(content, chance)
    return content


# Damage


def flip(content: bytes, chance: random.Random) -> bytes:
    """A bit, or some of them close to each other."""
    if not content:
        return content
    changed, at = bytearray(content), chance.randrange(len(content))
    for place in range(at, min(len(changed), at + chance.choice((1, 1, 1, 4, 16)))):
        changed[place] ^= 1 << chance.randrange(8)
    return bytes(changed)


def overwrite(content: bytes, chance: random.Random) -> bytes:
    """A number that programs mistake for another, somewhere."""
    number = chance.choice(INTERESTING) % 2**32
    packed = struct.pack(chance.choice((">I", "<I")), number)[chance.choice((0, 2, 3)) :]
    at = chance.randrange(len(content) + 1)
    return content[:at] + packed + content[at + len(packed) :]


def cut(content: bytes, chance: random.Random) -> bytes:
    """The end is missing."""
    return content[: chance.randrange(len(content) + 1)]


def remove(content: bytes, chance: random.Random) -> bytes:
    """Some bytes are missing."""
    at = chance.randrange(len(content) + 1)
    return content[:at] + content[at + chance.randrange(1, 64) :]


def double(content: bytes, chance: random.Random) -> bytes:
    """A part stands there twice."""
    start, stop = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    return content[:stop] + content[start:]


def splice(content: bytes, chance: random.Random) -> bytes:
    """The end of another picture, of any format."""
    other = chance.choice(seeds(chance.choice(list(FORGERS))))
    return content[: chance.randrange(len(content) + 1)] + other[chance.randrange(len(other)) :]


def noise(content: bytes, chance: random.Random) -> bytes:
    """Random bytes, more or fewer than before."""
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.randbytes(chance.randrange(1, 64)) + content[at + chance.randrange(64) :]


DAMAGES: tuple[Mutation, ...] = (flip, flip, flip, overwrite, overwrite, cut, remove, double, splice, noise)


# Forgery: parts of a format changed, with all around them right


def changed_parts(parts: list[tuple[bytes, bytes]], chance: random.Random) -> list[tuple[bytes, bytes]]:
    """Named parts of which one is dropped, doubled, moved, renamed, emptied, shortened or damaged."""
    if not parts:
        return parts
    at = chance.randrange(len(parts))
    name, body = parts[at]
    match chance.randrange(9):
        case 0:
            return parts[:at] + parts[at + 1 :]
        case 1:
            return parts[: at + 1] + parts[at:]
        case 2:
            moved = parts[:at] + parts[at + 1 :]
            moved.insert(chance.randrange(len(moved) + 1), (name, body))
            return moved
        case 3:
            name = chance.choice(parts)[0]
        case 4:
            body = body[: chance.randrange(len(body) + 1)]
        case 5:
            body = overwrite(body, chance)
        case 6:
            body += chance.randbytes(chance.randrange(1, 32))
        case _:
            body = flip(body, chance)
    return [*parts[:at], (name, body), *parts[at + 1 :]]


def forge_png(content: bytes, chance: random.Random) -> bytes:
    """Chunks whose checksums hold; now and then other rows, deflated as they should be."""
    parts, at = [], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        parts.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    if chance.random() < 0.3:
        try:
            rows = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
        except zlib.error:
            rows = b""
        change = chance.choice(DAMAGES)
        made = [(b"IDAT", zlib.compress(change(rows, chance)))]
        parts = [part for part in parts if part[0] != b"IDAT"]
        parts = parts[:-1] + made + parts[-1:]
    else:
        parts = changed_parts(parts, chance)
    return content[:8] + b"".join(png_chunk(kind[:4].ljust(4, b"x"), body) for kind, body in parts)


def forge_jpeg(content: bytes, chance: random.Random) -> bytes:
    """Segments whose lengths hold, and then the scan."""
    parts, at = [], 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] not in (0xD9, 0xDA):
        (length,) = struct.unpack_from(">H", content, at + 2)
        parts.append((content[at : at + 2], content[at + 4 : at + 2 + length]))
        at += 2 + length
    scan = content[at:]
    if chance.random() < 0.3:
        marker = bytes((0xFF, chance.choice((0x01, 0xC0, 0xC4, 0xD0, 0xD5, 0xD8, 0xD9, 0xDA, 0xDC, 0xDD, 0xE1, 0xFE))))
        place = chance.randrange(len(scan) + 1)
        scan = scan[:place] + marker + scan[place:]
    else:
        parts = changed_parts(parts, chance)
    segments = (name + struct.pack(">H", min(2 + len(body), 65535)) + body for name, body in parts)
    return content[:2] + b"".join(segments) + scan


def forge_riff(content: bytes, chance: random.Random) -> bytes:
    """Chunks of WebP whose lengths hold."""
    parts, at = [], 12
    while at + 8 <= len(content):
        (length,) = struct.unpack_from("<I", content, at + 4)
        parts.append((content[at : at + 4], content[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    chunks = b"".join(
        name[:4].ljust(4, b"x") + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
        for name, body in changed_parts(parts, chance)
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def forge_tiff(content: bytes, chance: random.Random) -> bytes:
    """One field of one entry of the first directory, or the count of entries, or where a directory is."""
    if len(content) < 16 or content[:2] not in (b"II", b"MM"):
        return flip(content, chance)
    order, big = ("<" if content[:2] == b"II" else ">"), 43 in content[2:4]
    entry, value_at = (20, 12) if big else (12, 8)
    (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", content, 8 if big else 4)
    if start + 8 > len(content):
        return flip(content, chance)
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", content, start)
    first = start + (8 if big else 2)
    place = first + entry * chance.randrange(max(1, min(count, 64)))
    at, code = chance.choice(((place, "H"), (place + 2, "H"), (place + 4, "I"), (place + value_at, "I"), (place + value_at, "H"), (place + value_at, "I"), (start, "H"), (8 if big else 4, "I"), (first + entry * min(count, 999), "I")))  # fmt: skip
    number = chance.choice((*INTERESTING, 5, 6, 258, 259, 262, 273, 277, 278, 279, 317, 322, 330, 32773, 34676)) % (65536 if code == "H" else 2**32)  # fmt: skip
    packed = struct.pack(order + code, number)
    return content[:at] + packed + content[at + len(packed) :]


def forge_gif(content: bytes, chance: random.Random) -> bytes:
    """A field of the screen, or a byte where a block, a frame or its codes begin."""
    begins = [
        6,
        8,
        10,
        11,
        *(at + more for at, byte in enumerate(content) if byte in b",!" for more in (0, 1, 3, 5, 7, 9, 10, 11)),
    ]
    at = chance.choice(begins)
    packed = struct.pack("<H", chance.choice(INTERESTING) % 65536)[: chance.choice((1, 1, 2))]
    return content[:at] + packed + content[at + len(packed) :]


FORGERS: dict[str, Mutation] = {
    "PNG": forge_png,
    "JPEG": forge_jpeg,
    "WEBP": forge_riff,
    "TIFF": forge_tiff,
    "GIF": forge_gif,
}
"""By format."""
