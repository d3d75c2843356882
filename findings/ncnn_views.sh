#!/usr/bin/env bash
# Guess:   `ncnn.Mat.from_pixels(crop, ...)` and `ncnn.Mat(array)` read the pixels of the array they are given, or
#          refuse it.
# Really:  they read memory from the array's first element on, as if it were contiguous. A tile cut from a picture
#          (`picture[8:24, 8:24]`) arrives sheared: its second row is the rest of the picture's first.
# Matters: tiled inference cuts tiles. The first tile one tries, the whole picture, is contiguous and right.
# Seen:    ncnn 1.0.20261020, November 2026. `np.ascontiguousarray`, kept in a variable, mends it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet ncnn==1.0.20261020 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import ncnn
import numpy as np

print(f"ncnn {ncnn.__version__}")
picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
crop = picture[8:24, 8:24]
whole_crop = np.ascontiguousarray(crop)
planes = crop.transpose(2, 0, 1)


def pixels(array: np.ndarray) -> bool:
    mat = ncnn.Mat.from_pixels(array, ncnn.Mat.PixelType.PIXEL_RGB, 16, 16)
    return bool(np.array_equal(np.array(mat), planes))


floats = picture[..., 0].astype(np.float32)
part = floats[8:24, 8:24]
array_is_right = bool(np.array_equal(np.array(ncnn.Mat(part).clone()), part))
seen = pixels(crop), pixels(whole_crop), array_is_right
print("expected: True for each, or an error")
print(f"seen:     from_pixels of a crop {seen[0]}, of a contiguous copy {seen[1]}; Mat of a crop {seen[2]}")
if seen != (False, True, False):
    sys.exit("The behaviour changed: crops are read right now, or refused.")
PYTHON
