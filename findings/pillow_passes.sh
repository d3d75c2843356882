#!/usr/bin/env bash
# Guess:   resizing a picture and turning it by 90 degrees can be done in either order. The reduction by Pillow is
#          "bicubic", so 8-bit pixels differ from the same computation in floating point by rounding: half a level.
# Really:  Pillow resizes rows first, then columns, and between the two an 8-bit picture is rounded AND clipped to
#          0..255. The overshoot of the first pass is lost. A picture that is turned first comes out up to 18 levels
#          different. In mode "F" (32-bit float) both orders agree.
# Matters: LR pictures and bicubic baselines that Pillow made in 8 bits differ from those that were computed in floating
#          point, and turning pictures (augmentation, self-ensemble) is not the same before and after a reduction.
# Seen:    Pillow 13.0.0, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet pillow==13.0.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import PIL
from PIL import Image

print(f"Pillow {PIL.__version__}")


def resized(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((128, 128), Image.Resampling.BICUBIC)).astype(np.float64)


rows, columns = np.indices((64, 64))
board = ((rows + columns) // 3 % 2 * 255).astype(np.uint8)


def difference(pixels: np.ndarray) -> float:
    turned_first = resized(np.ascontiguousarray(pixels.T)).T
    return float(np.abs(resized(pixels) - turned_first).max())


bits, real = difference(board), difference(board.astype(np.float32))
print("expected: the same picture whether it is turned before or after, give or take a level")
print(f"seen:     {bits:.0f} levels between the two in 8 bits, {real:.4f} in floating point")
if bits < 10 or real > 0.01:
    sys.exit("The behaviour changed: the two orders of 8 bits no longer differ by more than 10 levels.")
PYTHON
