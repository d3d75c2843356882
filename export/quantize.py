"""Makes an int8 model of one in fp32, and leaves a file only if it is nearly as good.

    python export/quantize.py gpsr_nano_x4.onnx --images PHOTOS -o gpsr_nano_x4_int8.onnx

NNCF calibrates on photographs: symmetric int8 for the activations, per channel for the weights, as pairs of QuantizeLinear
and DequantizeLinear, which ONNX Runtime, OpenVINO and TensorRT all take. Which convolutions stay in floating point is
measured: each is quantised alone, and then as many together, those that cost least first, as lose a part of what is
allowed on the pictures that calibrate. Pictures that took no part in either decide whether the file is written.
"""

from __future__ import annotations

import gpsr_deploy.cli.early  # noqa: F401 - first, since what follows takes seconds

# isort: split

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gpsr_deploy import atomic
from gpsr_deploy.backends.openvino import OpenVinoBackend, computes_in_bf16
from gpsr_deploy.cli import output, program
from gpsr_deploy.cli.arguments import Parser, positive, positive_float
from gpsr_deploy.errors import GpsrError, InputUnreadable, ModelRefused, NonFinite, ParityFailed, UsageError
from gpsr_deploy.media import images
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.model_files.onnx import OnnxModel
from gpsr_deploy.pictures import jobs
from gpsr_deploy.proof import quality
from gpsr_deploy.proof.quality import Pair
from gpsr_deploy.spec import MAX_LOSS_DB, Precision, Quality
from int8 import Calibrated

HELD_OUT = 4
"""One picture of so many takes no part in the calibration, and judges it."""

MARGIN = 4
"""What may be lost on the pictures that calibrate is this many times less than what may be lost at all."""

SIDE = 384
"""HR pixels of a side of what is taken of a picture, at the most: its middle."""


def pairs_of(folder: Path, *, scale: int, most: int) -> list[Pair]:
    """The middles of up to `most` pictures of a folder, spread over it. Raises InputUnreadable where there are too few."""
    found = []
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in jobs.READ_SUFFIXES]
    least = scale * 24
    for path in paths[:: max(1, len(paths) // most)][:most]:
        try:
            pixels = images.read(path).pixels
        except GpsrError as error:
            output.warn(path, f"left out: {error.message}")
            continue
        if pixels.ndim == 3 and pixels.dtype == np.uint8 and min(pixels.shape[:2]) >= least:
            top, left = (max(0, size - SIDE) // 2 for size in pixels.shape[:2])
            found.append(quality.pair(pixels[top : top + SIDE, left : left + SIDE], scale))
    if len(found) < 2 * HELD_OUT:
        expected = f"{2 * HELD_OUT} or more, 8-bit RGB of {least} pixels a side"
        raise InputUnreadable(f"{len(found)} pictures can be used", expected=expected, path=folder)
    return found


def losses(model: OnnxModel, reference: float, pairs: Sequence[Pair]) -> dict[Precision, float]:
    """PSNR that `model` loses to the fp32 model, which has `reference`: the rest in fp32, and in bf16 where it would be."""
    found: dict[Precision, float] = {}
    for rest in ("fp32", *(("bf16",) if computes_in_bf16() else ())):
        with OpenVinoBackend(model, rest=rest) as backend:
            try:
                found[rest] = reference - quality.psnr_db(backend, pairs)
            except NonFinite:  # which no loss allows
                found[rest] = math.inf
    return found


def quantize(source: Path, folder: Path, target: Path, *, pictures: int, max_loss: float) -> None:
    """Writes `target`, checked, or nothing. Raises ParityFailed where more than `max_loss` dB would be lost."""
    if target.suffix.lower() != ".onnx":
        raise UsageError(f"the output is named {target.suffix!r}", expected=".onnx", path=target)
    atomic.clean_stale(target.parent)
    atomic.require_writable(target)
    model = onnx_file.read(source)
    if model.spec.dtype != "fp32":
        raise ModelRefused(f"the model is in {model.spec.dtype}", expected="one in fp32", path=source)
    pairs = pairs_of(folder, scale=model.spec.scale, most=pictures)
    held_out, calibration = pairs[::HELD_OUT], [pair for number, pair in enumerate(pairs) if number % HELD_OUT]
    with OpenVinoBackend(model) as exact:
        reference = quality.psnr_db(exact, held_out)
        reference_of_calibration = quality.psnr_db(exact, calibration)

    calibrated = Calibrated(model, calibration)
    ranked = calibrated.ranked()
    names = list(ranked)

    def loss_of(count: int) -> float:
        return max(losses(calibrated.model(names[:count]), reference_of_calibration, calibration).values())

    count = most_within(loss_of, len(names), allowed=max_loss / MARGIN)
    found = losses(calibrated.model(names[:count]), reference, held_out)
    loss = max(found.values())
    if not count or not loss <= max_loss:
        raise ParityFailed(
            f"int8 loses {loss if count else loss_of(1):.3f} dB, most of it in {names[max(count, 1) - 1]}",
            expected=f"at most {max_loss:g} dB on {len(held_out)} pictures that took no part",
            remedy="more pictures, or pictures more like those that it is for",
            path=source,
        )
    kept = tuple(names[count:])
    stated = Quality(loss_db={"int8": round(loss, 4)}, float_layers=kept)
    atomic.write(target, calibrated.model(names[:count], stated).content)
    share = sum(calibrated.work[name] for name in names[:count]) / sum(calibrated.work.values())
    shares = ", ".join(f"{value:+.4f} dB with the rest in {rest}" for rest, value in found.items())
    output.text(f"{target}: {count} of {len(names)} convolutions in int8, {share:.0%} of the work")
    output.text(f"  lost to fp32 ({reference:.2f} dB) on {len(held_out)} held-out pictures: {shares}")
    output.text(f"  in floating point: {', '.join(kept) or 'none'}")


def most_within(loss_of: Callable[[int], float], most: int, *, allowed: float) -> int:
    """The largest count up to `most` whose loss is `allowed`, by halving; 0 where there is none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if loss_of(middle) <= allowed:
            low = middle
        else:
            high = middle - 1
    return low


def main(arguments: list[str]) -> int:
    """Quantises one model; returns the exit code."""
    parser = Parser(description="Make an int8 model of one in fp32, calibrated and judged on photographs.")
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="in fp32, as export/to_onnx.py wrote it")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="sharp photographs; with subfolders")
    parser.add_argument("-o", "--output", type=Path, help="default: MODEL_int8.onnx, here")
    parser.add_argument("--pictures", type=positive, default=64, metavar="N", help="pictures at the most (default 64)")
    parser.add_argument(
        "--max-loss",
        type=positive_float,
        default=MAX_LOSS_DB,
        metavar="DB",
        help=f"PSNR that may be lost (default {MAX_LOSS_DB})",
    )
    options = parser.parse_args(arguments)
    target = options.output or Path(f"{options.model.stem}_int8.onnx")
    quantize(options.model, options.images, target, pictures=options.pictures, max_loss=options.max_loss)
    return 0


if __name__ == "__main__":
    program.run(main)
