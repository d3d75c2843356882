#!/usr/bin/env bash
# Guess:   SSIM is SSIM: with the paper's window (Gaussian, sigma 1.5) and range, three well-known programs agree to a
#          digit or two that nobody prints.
# Really:  scikit-image, asked for the paper's settings, leaves out the five pixels at the border, as the paper's own
#          program does; torchmetrics counts them, computed with mirrored pixels; FFmpeg's filter `ssim` has another
#          window (8x8 boxes).
# Matters: SSIM of films by FFmpeg cannot stand in a table beside SSIM of papers; that of torchmetrics only for large
#          pictures.
# Seen:    scikit-image 0.26.0, torchmetrics 1.9.0, torch 2.13.0, FFmpeg 8.1.2 (in PyAV 18.1.0), November 2026. torch is
#          a large download where pip takes the build for GPUs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet \
    scikit-image==0.26.0 torchmetrics==1.9.0 torch==2.13.0 av==18.1.0 pillow==13.0.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from fractions import Fraction
from importlib.metadata import version

import av
import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

print(", ".join(f"{package} {version(package)}" for package in ("scikit-image", "torchmetrics", "torch", "av")))
fine = np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8)
hr = np.asarray(Image.fromarray(fine).resize((96, 96), Image.Resampling.BICUBIC))
small = Image.fromarray(hr).resize((24, 24), Image.Resampling.BICUBIC)
sr = np.asarray(small.resize((96, 96), Image.Resampling.BILINEAR))


def by_ffmpeg(first: np.ndarray, second: np.ndarray) -> float:
    graph = av.filter.Graph()
    sources = [graph.add_buffer(width=96, height=96, format="gray", time_base=Fraction(1, 25)) for _ in range(2)]
    ssim, sink = graph.add("ssim"), graph.add("buffersink")
    for number, source in enumerate(sources):
        source.link_to(ssim, 0, number)
    ssim.link_to(sink)
    graph.configure()
    for source, pixels in zip(sources, (first, second), strict=True):
        frame = av.VideoFrame.from_ndarray(pixels, format="gray")
        frame.pts = 0
        source.push(frame)
        source.push(None)
    return float(sink.pull().metadata["lavfi.ssim.Y"])


paper = structural_similarity(hr, sr, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
tensors = (torch.from_numpy(pixels.astype(np.float64))[None, None] for pixels in (sr, hr))
metrics = float(structural_similarity_index_measure(*tensors, data_range=255.0))
ffmpeg = by_ffmpeg(hr, sr)
print("expected: equal to three digits")
print(f"seen:     scikit-image {paper:.4f}, torchmetrics {metrics:.4f}, FFmpeg {ffmpeg:.4f}")
if abs(paper - metrics) < 5e-4 or abs(paper - ffmpeg) < 5e-3:
    sys.exit("The behaviour changed: torchmetrics or FFmpeg agrees with scikit-image.")
PYTHON
