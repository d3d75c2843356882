#!/usr/bin/env bash
# Guess:   a 16-bit array becomes a 16-bit PNG, whether it is grey or colour.
# Really:  pyvips makes a colour array a 16-bit PNG. A grey one becomes an 8-bit PNG without a word, and its values are
#          CLIPPED, not scaled: all above 255 of 65535 is white. TIFF keeps the 16 bits of both.
#          `.copy(interpretation="grey16")` before the write is what it wants.
# Matters: depth maps, X-rays and luma planes come back white from a program that was only tried with colour.
# Seen:    libvips 8.18 (pyvips 3.2.0, pyvips-binary 8.18.7), November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet pyvips==3.2.0 pyvips-binary==8.18.7 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import pyvips

print(f"libvips {'.'.join(str(pyvips.version(part)) for part in range(3))}")


def through_png(image: pyvips.Image) -> tuple[str, float]:
    back = pyvips.Image.new_from_buffer(image.pngsave_buffer(), "")
    return back.format, back.max()


grey = pyvips.Image.new_from_array(np.full((8, 8), 30000, np.uint16))
colour = pyvips.Image.new_from_array(np.full((8, 8, 3), 30000, np.uint16))
seen = through_png(grey), through_png(colour), through_png(grey.copy(interpretation="grey16"))
print("expected: ('ushort', 30000.0) for each")
print(f"seen:     grey {seen[0]}, colour {seen[1]}, grey called grey16 {seen[2]}")
if seen != (("uchar", 255.0), ("ushort", 30000.0), ("ushort", 30000.0)):
    sys.exit("The behaviour changed: a 16-bit grey array is no longer clipped to an 8-bit PNG.")
PYTHON
