"""Faults of size: headers that claim what is not there, data that inflates, results that nothing can hold."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from faults import made
from faults.fault import Circumstances, Content, Fault
from faults.pictures import LARGE, read, refused

LITTLE = Circumstances(limits={"as": 2 << 30})
"""Address space of which a third is taken by libraries: what a forged header must do with."""

BOMBS: Mapping[str, Content] = {
    "PNG of 20000x20000": made.png(20_000, 20_000, rows=b"\0"),
    "PNG of 2^31-1 a side": made.png(2**31 - 1, 2**31 - 1, rows=b"\0"),
    "PNG of 2^32-1 a side": made.png(2**32 - 1, 2**32 - 1, rows=b"\0"),
    "PNG of one long row": made.png(2**31 - 1, 1, rows=b"\0"),
    "PNG of one long column": made.png(1, 2**31 - 1, rows=b"\0"),
    "PNG without pixels": made.png(0, 0, rows=b"\0"),
    "GIF of 65535x65535": made.gif(65535, 65535),
    "TIFF of 2^31 a side": made.tiff(made.tiff_entries(width=2**31, length=2**31, rows=2**31)),
    "TIFF of 2^17 a side": made.tiff(made.tiff_entries(width=2**17, length=2**17, rows=2**17)),
    "TIFF with a strip of 4 GiB": made.tiff(
        made.tiff_entries(width=16_000, length=16_000, rows=16_000, bytes=2**32 - 1)
    ),
    "TIFF of 65535 entries": made.tiff(made.tiff_entries(), count=65535),
    "TIFF whose samples are 65535": made.tiff(made.tiff_entries(samples=65535)),
}

FAULTS: list[Fault] = [
    *(refused(id, "a header bomb", content, "error[3] p", around=LITTLE, within=20) for id, content in BOMBS.items()),
    refused(
        "JPEG of 65500x65500",
        "a header bomb",
        lambda: made.patched(made.photo_file("JPEG"), struct.pack(">HH", 12, 15), struct.pack(">HH", 65500, 65500)),
        "error[3] p",
        name="p.jpg",
        around=LITTLE,
    ),
    read(
        "PNG whose pixels inflate to 64 MiB",
        "a header bomb",
        lambda: made.png()[:33] + made.png_chunk(b"IDAT", made.inflating(64)) + made.png_chunk(b"IEND", b""),
        LARGE,
        around=LITTLE,
    ),
    read(
        "PNG whose profile inflates to 64 MiB",
        "a header bomb",
        lambda: made.png(before=[(b"iCCP", b"x\0\0" + made.inflating(64))]),
        LARGE,
        says="ICC",
        around=LITTLE,
    ),
    read(
        "PNG whose comment inflates to 64 MiB",
        "a header bomb",
        lambda: made.png(before=[(b"zTXt", b"x\0\0" + made.inflating(64))]),
        LARGE,
        around=LITTLE,
    ),
    refused("PNG with a chunk of 2 GiB", "a header bomb", made.png()[:33] + struct.pack(">I4s", 2**31 - 1, b"tEXt"), "error[3] p"),
    refused("PNG with a chunk of 4 GiB", "a header bomb", made.png()[:33] + struct.pack(">I4s", 2**32 - 1, b"tEXt"), "error[3] p"),
    Fault(
        id="PNG whose result is too large for WebP",
        clause="more than a format holds",
        files={"wide.png": made.later(made.png, 4200, 1)},
        command=["infer", "wide.png", "-f", "webp"],
        code=4,
        says="16383",
    ),
    Fault(
        id="PNG whose result is too large for JPEG",
        clause="more than a format holds",
        files={"wide.png": made.later(made.png, 16400, 1)},
        command=["infer", "wide.png", "-f", "jpg"],
        code=4,
        says="65500",
    ),
    Fault(
        id="TIFF larger than the free disk",
        clause="larger than the free disk",
        files={"p.png": made.later(made.png, 120, 120)},
        command=["infer", "p.png", "-o", "small/p.tif"],
        around=Circumstances(disks={"small": "size=256k"}),
        code=4,
        says="KiB free",
    ),
]  # fmt: skip
