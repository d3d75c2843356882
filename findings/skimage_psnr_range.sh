#!/usr/bin/env bash
# Guess:   the PSNR of two pictures in 0..1 changes by nothing worth a word when one pixel changes by a millionth.
# Really:  without `data_range`, `peak_signal_noise_ratio` takes 1 as the range if the FIRST picture has no negative
#          value, else 2: the millionth below zero adds 6.02 dB. Swapping the two pictures may do so too.
# Matters: bicubic overshoot and network outputs are negative here and there. A table of PSNR is 6 dB too good in some
#          rows. (SSIM of floating-point pictures refuses to guess the range.)
# Seen:    scikit-image 0.26.0, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet scikit-image==0.26.0 numpy==2.4.6
venv/bin/python -W error - <<'PYTHON'
import sys

import numpy as np
import skimage
from skimage.metrics import peak_signal_noise_ratio

print(f"scikit-image {skimage.__version__}")
generator = np.random.default_rng(0)
hr = generator.random((64, 64))
sr = (hr + generator.normal(0, 0.05, hr.shape)).clip(0, 1)
nearly = hr.copy()
nearly[0, 0] = 0
before = peak_signal_noise_ratio(nearly, sr)
nearly[0, 0] = -1e-6
after = peak_signal_noise_ratio(nearly, sr)
print(f"expected: {before:.3f} dB before and after one pixel goes from 0 to -0.000001")
print(f"seen:     {before:.3f} dB before, {after:.3f} dB after")
if abs(after - before - 20 * np.log10(2)) > 0.01:
    sys.exit("The behaviour changed: one pixel below zero no longer adds 6.02 dB.")
PYTHON
