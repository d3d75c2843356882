"""Faults of pictures: damaged, forged, larger than they seem, or of kinds that few programs write."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile

from faults import made
from faults.fault import Check, Content, Fault, anything, holding, picture

SRGB_WORDS = b"iCCP", b"acsp"


def refused(
    id: str, clause: str, content: Content, says: str, *, name: str = "p.png", code: int = 3, **more: object
) -> Fault:
    """A picture that gives nothing but one line."""
    return Fault(id=id, clause=clause, files={name: content}, command=["infer", name], code=code, says=says, **more)  # type: ignore[arg-type]


def read(
    id: str, clause: str, content: Content, result: Check, *, name: str = "p.png", says: str = "", **more: object
) -> Fault:
    """A picture of which a larger one is made."""
    large = f"{Path(name).stem}_x4{Path(name).suffix if Path(name).suffix != '.gif' else '.png'}"
    return Fault(
        id=id, clause=clause, files={name: content}, command=["infer", name], code=0, says=says, leaves={large: result}, **more  # type: ignore[arg-type]
    )  # fmt: skip


LARGE = picture(48, 60)

SUFFIX = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "GIF": ".gif"}

CUT = [
    *(refused(f"empty{suffix}", "zero bytes", b"", "empty", name=f"p{suffix}") for suffix in (".png", ".jpg")),
    *(
        refused(f"{kind} cut at {share:.0%}", "cut", made.later(made.cut, kind, share), "error[3] p", name=f"p{suffix}")
        for kind, suffix in SUFFIX.items()
        for share in (0.01, 0.5, 0.99)
    ),
    refused("PNG without its end", "cut", made.png(end=b""), "ends too early"),
    refused("PNG of a header alone", "cut", made.png()[:33], "error[3] p"),
    refused(
        "GIF that promises a frame", "cut", b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0x80, 0, 0) + bytes(6), "error[3] p"
    ),
    refused("JPEG of two markers", "cut", b"\xff\xd8\xff\xd9", "error[3] p", name="p.jpg"),
]


def flip(kind: str, share: float, mask: int = 0xFF) -> bytes:
    """A byte of a file, at a share of it, with other bits."""
    whole = made.photo_file(kind, 60, 75)
    return made.flipped(whole, int(len(whole) * share), mask)


FLIPPED = [
    *(
        refused(f"PNG flipped at {share:.0%}", "a flipped byte", made.later(flip, "PNG", share, 1), "error[3] p")
        for share in (0.005, 0.3, 0.7)
    ),
    refused("PNG with another signature", "a flipped byte", made.later(flip, "PNG", 0), "begins with"),
    refused("PNG with a flipped checksum", "a flipped byte", made.flipped(made.png(), -1), "checksum"),
    read("JPEG flipped in its data", "a flipped byte", made.later(flip, "JPEG", 0.6), picture(240, 300), name="p.jpg"),
    refused(
        "JPEG flipped in a marker", "a flipped byte", lambda: made.patched(made.photo_file("JPEG"), b"\xff\xc0\0\x11", b"\xff\xc0\0\x10"),
        "error[3] p", name="p.jpg",
    ),
    refused("WebP flipped in its data", "a flipped byte", made.later(flip, "WEBP", 0.02), "error[3] p", name="p.webp"),
]  # fmt: skip

SIZES = [
    read(
        f"{height}x{width}",
        "small sizes",
        made.later(made.photo_file, "PNG", height, width),
        picture(4 * height, 4 * width),
    )
    for height, width in ((1, 1), (2, 1), (17, 31), (1, 100))
]

DEPTHS = [
    *(
        read(f"16 bits, {channels} channels", "sixteen bits", made.later(made.deep, channels), picture(48, 60, channels=channels, depth=16))
        for channels in (1, 3, 4)
    ),
    read(
        "16 bits in TIFF", "sixteen bits", lambda: made.tiff_saved(made.photo().astype(np.uint16) * 257, photometric="rgb"),
        picture(48, 60, depth=16), name="p.tif",
    ),
    read(
        "1 bit", "palettes, transparency, few bits", made.png(depth=1, colour=0, rows=made.flat_rows(b"\xff", 2)),
        picture(48, 60, channels=1, colour=(255,)),
    ),
    read(
        "2 bits", "palettes, transparency, few bits", made.png(depth=2, colour=0, rows=made.flat_rows(b"\x55", 4)),
        picture(48, 60, channels=1, colour=(85,)),
    ),
    read(
        "palette", "palettes, transparency, few bits",
        made.png(depth=4, colour=3, rows=made.flat_rows(b"\x11", 8), before=[(b"PLTE", bytes((0, 0, 0, 200, 100, 50)))]),
        picture(48, 60, colour=(200, 100, 50)),
    ),
    read(
        "palette with tRNS", "palettes, transparency, few bits",
        made.png(depth=8, colour=3, rows=made.flat_rows(b"\1", 15), before=[(b"PLTE", bytes((0, 0, 0, 200, 100, 50))), (b"tRNS", b"\0\x80")]),
        picture(48, 60, channels=4, colour=(200, 100, 50, 128)),
    ),
    read(
        "grey with tRNS", "palettes, transparency, few bits",
        made.png(colour=0, rows=made.flat_rows(b"\x40", 15), before=[(b"tRNS", b"\0\x41")]),
        picture(48, 60, channels=4, colour=(64, 64, 64, 255)),
    ),
    read(
        "grey alpha", "palettes, transparency, few bits",
        made.png(colour=4, rows=made.flat_rows(b"\x40\x80", 15)),
        picture(48, 60, channels=4, colour=(64, 64, 64, 128)),
    ),
    read(
        "garbage under alpha 0", "garbage under alpha",
        made.png(colour=6, rows=made.flat_rows(b"\xff\x00\xff\x00", 15)),
        picture(48, 60, channels=4, colour=(0, 0, 0, 0)),
    ),
    *(
        read(
            f"orientation {orientation} in {kind}", "EXIF orientation", made.later(made.oriented, kind, orientation),
            picture(*((48, 60) if orientation < 5 else (60, 48))), name=f"p{SUFFIX[kind]}",
        )
        for kind, orientation in (("JPEG", 3), ("JPEG", 6), ("PNG", 8), ("WEBP", 5))
    ),
]  # fmt: skip

PROFILES = [
    read(
        "a profile stays", "ICC profiles", lambda: made.saved(made.photo(), "JPEG", icc_profile=made.srgb()),
        holding(b"ICC_PROFILE\0\1\1", made.srgb()), name="p.jpg",
    ),
    *(
        read(id, "ICC profiles", made.later(lambda change: made.saved(made.photo(), "JPEG", icc_profile=change(made.srgb())), change), LARGE, name="p.jpg", says="ICC")
        for id, change in {
            "a cut profile": lambda icc: icc[:200],
            "a profile of another length": lambda icc: b"\x7f" + icc[1:],
            "a profile of a thousand million tags": lambda icc: made.patched(icc, icc[128:132], b"\x3f\xff\xff\xff"),
            "a profile without its word": lambda icc: made.patched(icc, b"acsp", b"psca"),
            "a profile for CMYK": lambda icc: made.patched(icc, b"RGB ", b"CMYK"),
        }.items()
    ),
]  # fmt: skip

FRAMES = [
    read(
        "animated GIF", "several frames", made.later(made.several, "GIF"), anything, name="p.gif", says="holds 3 frames"
    ),
    read("animated PNG", "several frames", made.later(made.several, "PNG"), LARGE, says="holds 3 frames"),
    read(
        "animated WebP", "several frames", made.later(made.several, "WEBP"), LARGE, name="p.webp", says="holds 3 frames"
    ),
    read(
        "TIFF of pages", "several frames", made.later(made.several, "TIFF"), LARGE, name="p.tif", says="holds 3 frames"
    ),
]

DISGUISED = [
    read("JPEG named .png", "another format under a name", made.later(made.photo_file, "JPEG"), LARGE),
    read("WebP named .jpg", "another format under a name", made.later(made.photo_file, "WEBP"), LARGE, name="p.jpg"),
    read("PNG named .gif", "another format under a name", made.later(made.photo_file, "PNG"), LARGE, name="p.gif"),
]

HARMLESS: Mapping[str, bytes] = {
    "PDF": b"%PDF-1.7\n1 0 obj << /OpenAction << /S /Launch /F (touch ran) >> >>\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><image href='file:///etc/passwd'/></svg>",
    "XML with an entity": b"<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><svg>&y;</svg>",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n(touch ran) system\n",
    "a script": b"#!/bin/sh\ntouch ran\n",
    "ImageMagick's MVG": b"push graphic-context\nviewbox 0 0 9 9\nfill 'url(https://127.0.0.1/x|touch ran)'\n",
    "ImageMagick's MSL": b"<?xml version='1.0'?><image><read filename='/etc/passwd'/></image>",
    "BMP": b"BM" + struct.pack("<IHHIIiiHHI", 66, 0, 0, 54, 40, 2, 2, 1, 24, 0) + bytes(32),
    "AVIF": struct.pack(">I", 32) + b"ftypavif" + bytes(20),
    "a libvips file": b"\xb6\xa6\xf2\x08" + bytes(60),
    "PPM": b"P6 2 2 255\n" + bytes(12),
    "a playlist": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "zeros": bytes(4096),
    "text": b"nothing to see\n",
    "RIFF that is a sound": b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(28),
}  # fmt: skip

STRANGERS = [
    refused(id, "no picture, and nothing in it runs", content, "error[3] p.png: the file begins with")
    for id, content in HARMLESS.items()
]

RGB_ROWS = made.flat_rows(b"\x10\x20\x30", made.WIDTH)

CONTRADICTIONS = [
    refused("PNG without IDAT", "a picture that contradicts itself", made.png()[:33] + made.png_chunk(b"IEND", b""), "error[3] p"),
    refused("PNG with too few rows", "a picture that contradicts itself", made.png(rows=RGB_ROWS[:100]), "error[3] p"),
    refused(
        "PNG with a palette that is missing", "a picture that contradicts itself", made.png(colour=3, rows=made.flat_rows(b"\1", 15)), "error[3] p",
    ),
    refused("PNG of depth 3", "a picture that contradicts itself", made.png(depth=3), "error[3] p"),
    refused("PNG of colour type 5", "a picture that contradicts itself", made.png(colour=5), "error[3] p"),
    refused("PNG of interlace 9", "a picture that contradicts itself", made.png(interlaced=9), "error[3] p"),
    refused("PNG with a filter of 9", "a picture that contradicts itself", made.png(rows=b"\x09" + RGB_ROWS[1:]), "error[3] p"),
    refused("PNG with an unknown critical chunk", "a picture that contradicts itself", made.png(before=[(b"ABCD", b"x")]), "error[3] p"),
    refused(
        "PNG whose IDAT is no zlib", "a picture that contradicts itself",
        made.png()[:33] + made.png_chunk(b"IDAT", b"not zlib") + made.png_chunk(b"IEND", b""), "error[3] p",
    ),
    read("PNG with a second header behind its end", "a picture that contradicts itself", made.png() + made.png(99, 99), LARGE),
    read(
        "PNG with EXIF that is none", "a picture that contradicts itself", made.png(before=[(b"eXIf", b"MM\0*\xff\xff\xff\xff")]), LARGE,
        says="EXIF",
    ),
    refused(
        "TIFF without a directory", "a picture that contradicts itself", made.tiff(made.tiff_entries(), directory_at=2**32 - 2), "error[3] p",
        name="p.tif",
    ),
    refused(
        "TIFF whose directory is its header", "a picture that contradicts itself", made.tiff(made.tiff_entries(), directory_at=0), "error[3] p",
        name="p.tif",
    ),
    refused("TIFF of no entries", "a picture that contradicts itself", made.tiff([]), "error[3] p", name="p.tif"),
    refused(
        "TIFF whose strip lies behind its end", "a picture that contradicts itself", made.tiff(made.tiff_entries(strip=2**31)), "error[3] p",
        name="p.tif",
    ),
    refused(
        "TIFF of a compression that nobody knows", "a picture that contradicts itself", made.tiff(made.tiff_entries(compression=9999)), "error[3] p",
        name="p.tif",
    ),
    refused(
        "TIFF whose deflated strip is none", "a picture that contradicts itself", made.tiff(made.tiff_entries(compression=8)), "error[3] p",
        name="p.tif",
    ),
    refused(
        "TIFF whose JPEG strip is none", "a picture that contradicts itself", made.tiff(made.tiff_entries(compression=7, photometric=6)),
        "error[3] p", name="p.tif",
    ),
    read(
        "TIFF whose next directory is the first", "a picture that contradicts itself",
        lambda: made.tiff(made.tiff_entries(), following=8 + made.HEIGHT * made.WIDTH * 3), LARGE, name="p.tif",
    ),
    refused("GIF without a frame", "a picture that contradicts itself", made.gif(9, 9)[:25] + b";", "error[3] p", name="p.gif"),
    refused(
        "WebP with another length", "a picture that contradicts itself", lambda: made.patched(made.photo_file("WEBP"), b"WEBPVP8 ", b"WEBPVP8L"),
        "error[3] p", name="p.webp",
    ),
    read(
        "JPEG with words behind its end", "a picture that contradicts itself", lambda: made.photo_file("JPEG") + b"#!/bin/sh\n" * 99, LARGE,
        name="p.jpg",
    ),
]  # fmt: skip

WILD = made.tiff(
    [*made.tiff_entries(), (282, 5, 1, 8), (283, 5, 1, 8), (296, 3, 1, 3)],
    data=struct.pack("<II", 2**32 - 1, 1) + bytes(made.HEIGHT * made.WIDTH * 3),
)

KINDS = [
    read("TIFF with 2^32 pixels a centimetre", "a picture that contradicts itself", WILD, LARGE, name="p.tif"),
    read(
        "TIFF with no pixels a centimetre", "a picture that contradicts itself", made.patched(WILD, struct.pack("<II", 2**32 - 1, 1), bytes(8)),
        LARGE, name="p.tif",
    ),
    read("CMYK", "kinds of samples that are not read", lambda: made.saved(made.photo(), "JPEG", "CMYK"), LARGE, name="p.jpg", says="CMYK"),
    *(
        refused(f"TIFF of {id}", "kinds of samples that are not read", made.later(made.tiff_saved, array, **options), "error[3] p", name="p.tif")
        for id, array, options in (
            ("float32", np.zeros((9, 9), np.float32), {}),
            ("int32", np.zeros((9, 9), np.int32), {}),
            ("complex numbers", np.zeros((9, 9), np.complex64), {}),
            ("five bands", np.zeros((9, 9, 5), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}),
            ("CIELab", np.zeros((9, 9, 3), np.uint8), {"photometric": tifffile.PHOTOMETRIC.CIELAB}),
        )
    ),
    refused(
        "TIFF that begins with a preview", "kinds of samples that are not read",
        lambda: made.tiff_saved(np.zeros((9, 9, 3), np.uint8), photometric="rgb", subfiletype=1), "preview", name="p.tif",
    ),
]  # fmt: skip

FAULTS: list[Fault] = [
    *CUT, *FLIPPED, *SIZES, *DEPTHS, *PROFILES, *FRAMES, *DISGUISED, *STRANGERS, *CONTRADICTIONS, *KINDS,
]  # fmt: skip
