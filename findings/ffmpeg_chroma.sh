#!/usr/bin/env bash
# Guess:   converting a 4:2:0 film to RGB with interpolation BICUBIC (or LANCZOS) interpolates the chroma bicubically:
#          it has half the size and must be enlarged.
# Really:  without a change of size libswscale takes a shortcut: each chroma sample is repeated over its 2x2 pixels,
#          whatever interpolation is asked for. Only the flags ACCURATE_RND and FULL_CHR_H_INT together make it
#          interpolate.
# Matters: colour edges of the LR frames are staircases, and a network that enlarges them draws the staircases larger.
# Seen:    FFmpeg 8.1.2 (in PyAV 18.1.0) on x86-64, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import av
import numpy as np
from av.video.reformatter import Interpolation

print(f"PyAV {av.__version__}, libswscale {'.'.join(map(str, av.library_versions['libswscale']))}")
luma = np.full((16, 32), 120, np.uint8)
blue = np.full((8, 16), 128, np.uint8)
red = np.full((8, 16), 90, np.uint8)
red[:, 8:] = 170
stacked = np.concatenate([luma.ravel(), blue.ravel(), red.ravel()]).reshape(24, 32)
frame = av.VideoFrame.from_ndarray(stacked, format="yuv420p")


def edge(interpolation: int) -> list[int]:
    return frame.reformat(format="rgb24", interpolation=int(interpolation)).to_ndarray()[8, 12:20, 0].tolist()


names = ("POINT", "BILINEAR", "BICUBIC", "LANCZOS")
seen = {name: edge(Interpolation[name]) for name in names}
exact = edge(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)
print("expected: BICUBIC differs from POINT at a colour edge (red, eight pixels across it)")
for name, row in seen.items():
    print(f"seen:     {name:9}{row}")
print(f"seen:     BICUBIC with ACCURATE_RND and FULL_CHR_H_INT {exact}")
if any(row != seen["POINT"] for row in seen.values()) or len(set(exact)) < 5:
    sys.exit("The behaviour changed: the interpolation asked for now reaches the chroma.")
PYTHON
