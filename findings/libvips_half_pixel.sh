#!/usr/bin/env bash
# Guess:   enlarging keeps the picture where it is: by the field's convention (MATLAB, Pillow, OpenCV, torch, ONNX's
#          half_pixel) output pixel i of an enlargement by s lies at (i + 0.5) / s - 0.5 of the input.
# Really:  libvips' `resize`, with linear, cubic and Lanczos kernels and every factor above 1, moves the picture right
#          and down by half an output pixel. Its reductions are not moved.
# Matters: a bicubic baseline by libvips is 2 to 3 dB too low at factor 2 and half a dB at factor 4, and a network's
#          output laid over a picture enlarged by libvips (chroma, alpha) does not fit.
# Seen:    libvips 8.18 (pyvips 3.2.0, pyvips-binary 8.18.7), November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet pyvips==3.2.0 pyvips-binary==8.18.7 pillow==13.0.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import PIL
import pyvips
from PIL import Image

print(f"libvips {'.'.join(str(pyvips.version(part)) for part in range(3))}, Pillow {PIL.__version__}")
ramp = np.tile(np.arange(64, dtype=np.float32), (64, 1))  # every pixel tells its own place


def moved(line: np.ndarray, scale: float) -> float:
    """By how many output pixels the middle of an enlarged ramp lies to the right of where it should."""
    middle = slice(len(line) // 4, 3 * len(line) // 4)
    should = (np.arange(len(line)) + 0.5) / scale - 0.5
    return float(np.mean((should - line)[middle]) * scale)


def pillow(scale: float) -> np.ndarray:
    return np.asarray(Image.fromarray(ramp).resize((round(64 * scale),) * 2, Image.Resampling.BICUBIC))[30]


def vips(scale: float, kernel: str) -> np.ndarray:
    return pyvips.Image.new_from_array(ramp).resize(scale, kernel=kernel).numpy()[30]


print("expected: 0.00 everywhere")
shifts = []
for scale in (2, 3, 4):
    found = {kernel: moved(vips(scale, kernel), scale) for kernel in ("linear", "cubic", "lanczos3")}
    shifts += found.values()
    told = ", ".join(f"libvips {kernel} {shift:+.2f}" for kernel, shift in found.items())
    print(f"seen:     x{scale}: {told}, Pillow {moved(pillow(scale), scale):+.2f} output pixels")
print(f"seen:     x0.5: libvips cubic {moved(vips(0.5, 'cubic'), 0.5):+.2f}")
if not np.allclose(shifts, 0.5, atol=0.02):
    sys.exit("The behaviour changed: enlargements are no longer moved by half an output pixel.")
PYTHON
