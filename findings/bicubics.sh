#!/usr/bin/env bash
# Guess:   "bicubic" is one thing, up to the choice between a = -0.5 (Keys, MATLAB) and a = -0.75 (OpenCV, torch); and
#          `antialias=True` changes nothing when a picture is enlarged, for there is nothing to filter.
# Really:  FFmpeg's bicubic has a = -0.6, like none of the others. torch's `antialias=True` changes a from -0.75 to
#          -0.5, in enlargements too. scikit-image's "bi-cubic" (order=3) is an interpolating spline: it fits no a, and
#          its overshoot is cut off by default.
# Matters: "x dB above bicubic" is a statement about a library. A skip connection trained on one bicubic and run on
#          another adds a faint edge to everything.
# Seen:    FFmpeg 8.1.2 (in PyAV 18.1.0), Pillow 13.0.0, OpenCV 5.0.0, torch 2.13.0, scikit-image 0.26.0, November 2026.
#          torch is a large download where pip takes the build for GPUs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet \
    av==18.1.0 pillow==13.0.0 opencv-python-headless==5.0.0.93 torch==2.13.0 scikit-image==0.26.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import av
import cv2
import numpy as np
import torch
from PIL import Image
from skimage.transform import resize
from torch.nn.functional import interpolate

packages = ("av", "pillow", "opencv-python-headless", "torch", "scikit-image")
print(", ".join(f"{package} {version(package)}" for package in packages))
edge = np.zeros((16, 32), np.float32)
edge[:, 16:] = 1
tensor = torch.from_numpy(edge)[None, None]
levels = av.VideoFrame.from_ndarray((20 + 200 * edge).astype(np.uint8), format="gray")
frame = levels.reformat(width=64, height=32, format="gray", interpolation="BICUBIC")
rows = {
    "Pillow": np.asarray(Image.fromarray(edge).resize((64, 32), Image.Resampling.BICUBIC))[16],
    "OpenCV": cv2.resize(edge, (64, 32), interpolation=cv2.INTER_CUBIC)[16],
    "torch": interpolate(tensor, scale_factor=2, mode="bicubic")[0, 0, 16].numpy(),
    "torch, antialias": interpolate(tensor, scale_factor=2, mode="bicubic", antialias=True)[0, 0, 16].numpy(),
    "FFmpeg": (frame.to_ndarray()[16].astype(np.float32) - 20) / 200,
    "scikit-image": resize(edge, (32, 64), order=3, anti_aliasing=False)[16],
}


def kernel(distance: float, a: float) -> float:
    d = abs(distance)
    return (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0


def step(a: float) -> np.ndarray:
    """The same edge, enlarged by two with the cubic of `a`."""
    return np.array([sum(kernel(i / 2 - 0.25 - j, a) for j in range(16, 34)) for i in range(28, 36)])


candidates = np.arange(-1, -0.2, 0.01)
fits = {
    name: min((float(np.abs(row[28:36] - step(a)).max()), float(a)) for a in candidates) for name, row in rows.items()
}
print("expected: -0.5 or -0.75 for each, and one a for torch")
for name, (error, a) in fits.items():
    print(f"seen:     {name:17}a = {a:.2f}, {error:.3f} from the edge with that a")
found = [round(fits[name][1], 2) for name in ("Pillow", "OpenCV", "torch", "torch, antialias")]
ffmpeg_is_apart = abs(fits["FFmpeg"][1] + 0.6) < 0.03 and fits["FFmpeg"][0] < 0.005
if found != [-0.5, -0.75, -0.75, -0.5] or not ffmpeg_is_apart or fits["scikit-image"][0] < 0.01:
    sys.exit("The behaviour changed: one of the six has another cubic now.")
PYTHON
