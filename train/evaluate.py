"""PSNR and SSIM of a model on test sets, by the field's protocol: BI degradation, Y of BT.601, `scale` pixels shaved, 8-bit.

    python train/evaluate.py --engine weights/gpsr_nano_x4.safetensors Set5 Set14
    python train/evaluate.py --bicubic --scale 4 Set5

Each SET is a folder of HR pictures. HR is cropped to a multiple of the scale; LR is rounded to 8 bits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from degradations import bicubic_upsample, imresize, to_8_bit
from gpsr_deploy import images, metrics
from gpsr_deploy.backends import Backend, open_backend
from gpsr_deploy.cli import program
from gpsr_deploy.ensemble import SelfEnsemble
from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.upscale import Tiling, upscale

Pixels = NDArray[np.uint8]
Enlarge = Callable[[Pixels], Pixels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Means over the pictures of one set."""

    set: str
    images: int
    psnr: float
    """dB"""
    ssim: float


def degrade(hr: Pixels, scale: int) -> Pixels:
    """BI: HR, (H, W, 3) or grey (H, W), multiples of the scale -> 8-bit LR."""
    return _through_torch(hr, lambda batch: imresize(batch, scale))


def bicubic(scale: int) -> Enlarge:
    """The baseline: MATLAB's bicubic enlargement."""
    return lambda lr: _through_torch(lr, lambda batch: bicubic_upsample(batch, scale))


def model(backend: Backend, tiling: Tiling) -> Enlarge:
    """The network, whole pictures unless `tiling` cuts them."""
    return lambda lr: upscale(backend, lr, tiling=tiling).sr


def evaluate(folder: Path, enlarge: Enlarge, *, scale: int) -> Score:
    """The score on all pictures of `folder`. Raises InputUnreadable where there are none."""
    psnrs, ssims = [], []
    for path in sorted(path for path in folder.glob("*") if path.is_file()):
        hr = images.read(path).pixels
        hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
        sr = enlarge(degrade(hr, scale))
        psnrs.append(metrics.psnr(sr, hr, shave=scale))
        ssims.append(metrics.ssim(sr, hr, shave=scale))
    if not psnrs:
        raise InputUnreadable("the folder holds no pictures", expected="a test set of HR pictures", path=folder)
    return Score(set=folder.name, images=len(psnrs), psnr=float(np.mean(psnrs)), ssim=float(np.mean(ssims)))


def _through_torch(pixels: Pixels, function: Callable[[torch.Tensor], torch.Tensor]) -> Pixels:
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    result = to_8_bit(function(torch.from_numpy(np.ascontiguousarray(planes))[None].double() / 255))[0]
    found: Pixels = (result[0] if pixels.ndim == 2 else result.permute(1, 2, 0)).contiguous().numpy()
    return found


def main(arguments: list[str]) -> int:
    """Prints one line per set; returns the exit code."""
    parser = argparse.ArgumentParser(description="PSNR and SSIM of a model on test sets.")
    parser.add_argument("sets", type=Path, nargs="+", metavar="SET", help="a folder of HR pictures")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--engine", type=Path, help="an .onnx or .safetensors model")
    which.add_argument("--bicubic", action="store_true", help="the baseline")
    parser.add_argument(
        "--scale", type=int, default=4, help="of --bicubic; a model knows its own (default %(default)s)"
    )
    parser.add_argument(
        "--self-ensemble", "-x", action="store_true", help="GPSR+: average over eight flips and rotations"
    )
    parser.add_argument(
        "--tile", type=int, help="cut pictures into tiles of this many LR pixels, instead of running them whole"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    tiling = Tiling(tile=(options.tile, options.tile)) if options.tile else Tiling(whole=True)
    if options.bicubic:
        report(options.sets, bicubic(options.scale), scale=options.scale, as_json=options.json)
    else:
        with open_backend(options.engine, device=options.device) as opened:
            backend = SelfEnsemble(opened) if options.self_ensemble else opened
            report(options.sets, model(backend, tiling), scale=backend.spec.scale, as_json=options.json)
    return 0


def report(folders: list[Path], enlarge: Enlarge, *, scale: int, as_json: bool) -> None:
    """Prints a line per set as soon as it is known."""
    for folder in folders:
        score = evaluate(folder, enlarge, scale=scale)
        print(
            json.dumps(asdict(score))
            if as_json
            else f"{score.set:12} {score.images:4} pictures  PSNR {score.psnr:6.2f} dB  SSIM {score.ssim:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    program.run(main)
