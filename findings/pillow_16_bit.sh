#!/usr/bin/env bash
# Guess:   a library either keeps the 16 bits of a PNG or says that it doesn't, and the same grey stored as a grey PNG
#          and as a colour PNG looks the same after `Image.open(path).convert("RGB")`.
# Really:  16-bit colour is opened as 8-bit "RGB" without a word (the low byte is cut off). 16-bit grey is opened as
#          "I;16", and `convert("RGB")` CLIPS it: every grey above 255 of 65535 is white.
# Matters: scans, medical and camera pictures lose half their depth or turn white before a network sees them.
# Seen:    Pillow 13.0.0, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet pillow==13.0.0 numpy==2.4.6
venv/bin/python -W error - <<'PYTHON'
import io
import struct
import sys
import zlib

import numpy as np
import PIL
from PIL import Image

print(f"Pillow {PIL.__version__}")


def png(pixels: np.ndarray) -> bytes:
    """A 16-bit PNG of (H, W) grey or (H, W, 3) colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


grey = Image.open(io.BytesIO(png(np.full((4, 4), 30000))))
colour = Image.open(io.BytesIO(png(np.full((4, 4, 3), 30000))))
seen = (grey.mode, colour.mode, grey.convert("RGB").getpixel((0, 0)), colour.convert("RGB").getpixel((0, 0)))
print("expected: 30000 of 65535 stays 30000, or both are (117, 117, 117)")
print(f"seen:     grey opens as {seen[0]} and converts to {seen[2]}; colour opens as {seen[1]} and is {seen[3]}")
if seen != ("I;16", "RGB", (255,) * 3, (117,) * 3):
    sys.exit("The behaviour changed: 16-bit grey is no longer clipped, or 16-bit colour no longer cut to 8 bits.")
PYTHON
