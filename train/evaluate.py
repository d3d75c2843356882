"""PSNR and SSIM of a model on test sets, by the field's protocol: Y of BT.601, `scale` pixels shaved, 8-bit.

    python train/evaluate.py --engine weights/gpsr_nano_x4.safetensors Set5 Set14
    python train/evaluate.py --bicubic --scale 8 Set5

Each SET is a folder of HR pictures. HR is cropped to a multiple of the scale, LR is made from it and rounded to 8 bits.
The published rows of the same scale, degradation and sets stand below ours.
"""

from __future__ import annotations

import gpsr_deploy.cli.early  # noqa: F401 - first, since what follows takes seconds

# isort: split

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import paper
from degradations import Degradation, bicubic_upsample, degrade, to_8_bit
from gpsr_deploy import metrics
from gpsr_deploy.backends import Backend, open_backend
from gpsr_deploy.cli import output, program
from gpsr_deploy.cli.arguments import Parser, positive
from gpsr_deploy.errors import InputUnreadable, ModelRefused
from gpsr_deploy.media import images
from gpsr_deploy.upscaling.ensemble import SelfEnsemble
from gpsr_deploy.upscaling.upscale import Tiling, upscale

SSIM_WINDOW = 11
"""Pixels per side that SSIM looks at, and so the least that must be left of a picture."""

Pixels = NDArray[np.uint8]
Enlarge = Callable[[Pixels], Pixels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Means over the pictures of one set."""

    set: str
    images: int
    psnr: float
    """dB; infinite where a picture came out exact."""
    ssim: float


def make_lr(hr: Pixels, scale: int, degradation: Degradation) -> Pixels:
    """HR, (H, W, 3) or grey (H, W), multiples of the scale -> 8-bit LR."""
    return _through_torch(hr, lambda batch: degrade(batch, scale, degradation))


def bicubic(scale: int) -> Enlarge:
    """The baseline: MATLAB's bicubic enlargement."""
    return lambda lr: _through_torch(lr, lambda batch: bicubic_upsample(batch, scale))


def model(backend: Backend, tiling: Tiling) -> Enlarge:
    """The network, whole pictures unless `tiling` cuts them."""
    return lambda lr: upscale(backend, lr, tiling=tiling).sr


def evaluate(folder: Path, enlarge: Enlarge, *, scale: int, degradation: Degradation = "bi") -> Score:
    """The score on all files of `folder`, but hidden ones.

    Raises InputUnreadable where there are none, or one is no picture or too small to be scored.
    """
    psnrs, ssims = [], []
    for path in sorted(path for path in folder.glob("[!.]*") if path.is_file()):
        hr = images.read(path).pixels
        least = (SSIM_WINDOW + 2 * scale + scale - 1) // scale * scale
        if min(hr.shape[:2]) < least:
            found = f"the picture is {hr.shape[1]}x{hr.shape[0]}"
            raise InputUnreadable(found, expected=f"at least {least}x{least} pixels, for x{scale}", path=path)
        hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
        sr = enlarge(make_lr(hr, scale, degradation))
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


def table(method: str, scores: Sequence[Score], *, scale: int, degradation: str, markdown: bool) -> str:
    """Our row over the published ones of the same protocol, PSNR/SSIM by set; text in columns, or Markdown."""
    published = paper.rows(scale=scale, degradation=degradation)
    known = {name.lower(): name for name in paper.SETS}
    names = [known.get(score.set.lower(), score.set) for score in scores]
    lines = [[f"x{scale} {degradation.upper()}, PSNR/SSIM", *names]]
    lines.append([method, *(f"{score.psnr:.2f}/{score.ssim:.4f}" for score in scores)])
    for row in published:
        cells = [
            f"{row.scores[name][0]:.2f}/{row.scores[name][1]:.4f}" if name in row.scores else "-" for name in names
        ]
        if set(cells) != {"-"}:
            lines.append([row.method, *cells])
    if markdown:
        lines.insert(1, ["---"] * len(lines[0]))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def main(arguments: list[str]) -> int:
    """Prints what is asked for; returns the exit code."""
    parser = Parser(description="PSNR and SSIM of a model on test sets.")
    parser.add_argument("sets", type=Path, nargs="+", metavar="SET", help="a folder of HR pictures")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--engine", type=Path, help="a .plan, .onnx or .safetensors model")
    which.add_argument("--bicubic", action="store_true", help="the baseline: MATLAB's bicubic enlargement")
    parser.add_argument("--scale", type=int, choices=[4, 8], help="of --bicubic (default 4); a model knows its own")
    parser.add_argument("--degradation", choices=["bi", "bd", "bd7"], default="bi", help="how LR is made (default bi)")
    parser.add_argument(
        "--self-ensemble", "-x", action="store_true", help="GPSR+: average over eight flips and rotations"
    )
    parser.add_argument(
        "--tile", type=positive, help="cut pictures into tiles of this many LR pixels, instead of running them whole"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda[:i] (default auto)")
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "int8"],
        help="auto: as `gpsr-trt infer` would run it; default: exactly what the file says",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line and set")
    form.add_argument("--markdown", action="store_true", help="a Markdown table")
    options = parser.parse_args(arguments)
    if options.bicubic and (options.self_ensemble or options.tile):
        parser.error("--bicubic takes neither --self-ensemble nor --tile")
    if options.bicubic:
        scale = options.scale or 4
        report("bicubic", bicubic(scale), scale=scale, options=options)
        return 0
    tiling = Tiling(tile=(options.tile, options.tile)) if options.tile else Tiling(whole=True)
    with open_backend(
        options.engine,
        device=options.device,
        runtime=None if options.precision is None else "auto",
        precision=options.precision,
        on_warning=partial(output.warn, options.engine),
    ) as opened:
        scale = opened.spec.scale
        if options.scale not in (None, scale):
            raise ModelRefused(f"the model is x{scale}", expected=f"x{options.scale}, as asked", path=options.engine)
        backend = SelfEnsemble(opened) if options.self_ensemble else opened
        name = opened.spec.name + ("+" if options.self_ensemble else "")
        report(name, model(backend, tiling), scale=scale, options=options)
    return 0


def report(method: str, enlarge: Enlarge, *, scale: int, options: argparse.Namespace) -> None:
    """Prints a JSON line per set as soon as it is known, or the table at the end."""
    scores = []
    for folder in options.sets:
        scores.append(evaluate(folder, enlarge, scale=scale, degradation=options.degradation))
        if options.json:
            psnr = scores[-1].psnr if np.isfinite(scores[-1].psnr) else None  # JSON has no infinity
            output.data(asdict(scores[-1]) | {"psnr": psnr})
    if not options.json:
        output.text(table(method, scores, scale=scale, degradation=options.degradation, markdown=options.markdown))


if __name__ == "__main__":
    program.run(main)
