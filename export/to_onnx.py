"""Exports a checkpoint to ONNX, and leaves a file only if it computes what the checkpoint computes.

    python export/to_onnx.py --scale 4 --model nano

folds the network, writes a graph with dynamic batch, height and width, compares it with torch on real photographs of
several sizes, measures the halo that these very weights need, and stamps what it found into the file.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpsr_deploy import atomic, checkpoint_file, images, onnx_file, samples
from gpsr_deploy.backends import Backend
from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend
from gpsr_deploy.backends.torch import TorchBackend
from gpsr_deploy.cli import program
from gpsr_deploy.errors import ModelRefused, ParityFailed, UsageError
from gpsr_deploy.family import MULTIPLE_OF
from gpsr_deploy.network import GPSR, count_macs, fold
from gpsr_deploy.onnx_file import OnnxModel
from gpsr_deploy.spec import Dtype, SRSpec
from gpsr_deploy.upscale import SMALLEST_KEEP, Tiling, upscale

OPSET = 20

FP32_TOLERANCE = 1e-5
"""Largest difference from torch, of values in [0, 1]."""

FP16_PSNR = 60.0
"""Smallest PSNR against torch in fp32, in dB over all channels."""

HALO_SHARE = 1e-3
"""Largest share of pixels that tiling may change, and those by one 8-bit level only."""

MAX_HALO = 96

PARITY_SIZES = ((96, 96), (51, 120), (147, 78), (3, 6), (1, 1))
"""LR (height, width) of the crops that are compared; those that are no multiples of 3 are padded as a picture would be."""

TILES_PER_SIDE = 5
"""How many tiles of SMALLEST_KEEP cut each side of the pictures that a halo is measured on: most have neighbours all around."""


class HalfInside(nn.Module):
    """Computes in float16, takes and gives float32."""

    def __init__(self, network: GPSR) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.network(lr.half()).float()
        return sr


def to_graph(network: GPSR, dtype: Dtype) -> onnx.ModelProto:
    """The folded network as a graph with inputs `lr` and outputs `sr`, and N, H and W free."""
    module = HalfInside(network) if dtype == "fp16" else network
    example = torch.rand(2, 3, 4 * MULTIPLE_OF, 5 * MULTIPLE_OF)
    free = ({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            dynamic_shapes=free,
            input_names=[onnx_file.INPUT],
            output_names=[onnx_file.OUTPUT],
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    scale = network.config.scale
    for value, factor in ((model.graph.input[0], ""), (model.graph.output[0], f"{scale}*")):
        for axis, name in ((0, "batch"), (2, f"{factor}height"), (3, f"{factor}width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    model.producer_name, model.producer_version = "gpsr-deploy", ""
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far two results of the same pictures are apart, over all of them."""

    max_difference: float
    """Of values in [0, 1]."""
    psnr_db: float
    """Over all channels of the 8-bit range, peak 1."""
    max_level: int
    """Largest difference of 8-bit levels."""
    share_changed: float
    """Share of pixels of which any channel's 8-bit level differs."""


def compare(found: Sequence[NDArray[np.float32]], wanted: Sequence[NDArray[np.float32]]) -> Agreement:
    """(H, W, 3) float results in [0, 1] against each other."""
    differences = np.concatenate(
        [(a.astype(np.float64) - b).reshape(-1, 3) for a, b in zip(found, wanted, strict=True)]
    )
    levels = np.concatenate(
        [np.abs(_levels(a) - _levels(b)).reshape(-1, 3) for a, b in zip(found, wanted, strict=True)]
    )
    error = float(np.mean(differences**2))
    return Agreement(
        max_difference=float(np.abs(differences).max()),
        max_level=int(levels.max()),
        psnr_db=float("inf") if error == 0 else -10 * float(np.log10(error)),
        share_changed=float(levels.any(axis=1).mean()),
    )


def _levels(values: NDArray[np.float32]) -> NDArray[np.int16]:
    return (values * 255 + 0.5).astype(np.int16)


def crops(size: tuple[int, int]) -> list[NDArray[np.float32]]:
    """The middle of each photograph that ships, mirrored where it is too small, (H, W, 3) in [0, 1]."""
    found = []
    for path in samples.photographs():
        pixels = images.read(path).pixels
        missing = [max(wanted - there, 0) for wanted, there in zip(size, pixels.shape[:2], strict=True)]
        pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
        top, left = (pixels.shape[0] - size[0]) // 2, (pixels.shape[1] - size[1]) // 2
        found.append(pixels[top : top + size[0], left : left + size[1]].astype(np.float32) / 255)
    return found


def run_whole(backend: Backend, pictures: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Each picture in one piece."""
    return [upscale(backend, picture, tiling=Tiling(whole=True)).sr for picture in pictures]


def check_parity(backend: Backend, reference: Backend) -> Agreement:
    """Compares with torch on photographs of several sizes. Raises ParityFailed."""
    pictures = [crop for size in PARITY_SIZES for crop in crops(size)]
    found, wanted = run_whole(backend, pictures), run_whole(reference, pictures)
    pair = np.stack(crops(PARITY_SIZES[0])[:2]).transpose(0, 3, 1, 2)
    found += list(backend.infer(pair).transpose(0, 2, 3, 1))
    wanted += list(reference.infer(pair).transpose(0, 2, 3, 1))
    agreement = compare(found, wanted)
    if backend.spec.dtype == "fp32":
        good, expected = agreement.max_difference <= FP32_TOLERANCE, f"at most {FP32_TOLERANCE:g}"
    else:
        good, expected = (
            agreement.psnr_db >= FP16_PSNR and agreement.max_level <= 1,
            f"at least {FP16_PSNR} dB and at most 1 level",
        )
    if not good:
        found = f"{agreement.max_difference:.2g}, {agreement.psnr_db:.1f} dB, {agreement.max_level} levels"
        raise ParityFailed(
            f"the exported graph differs from torch by {found}",
            expected=expected,
            remedy="--precision fp32" if backend.spec.dtype == "fp16" else "",
        )
    return agreement


def measure_halo(backend: Backend) -> tuple[int, Agreement]:
    """The smallest halo in LR pixels at which tiles change at most HALO_SHARE of the pixels, each by one level at most.

    Tiles are as small as they ever get (SMALLEST_KEEP), so that every pixel is near a cut: larger tiles change fewer.
    Raises ParityFailed where MAX_HALO is not enough.
    """
    for halo in range(MULTIPLE_OF, MAX_HALO + 1, MULTIPLE_OF):
        size = 2 * halo + SMALLEST_KEEP
        side = 2 * halo + TILES_PER_SIDE * SMALLEST_KEEP
        pictures = crops((side, side))
        wanted = run_whole(backend, pictures)
        tiled = [upscale(backend, picture, tiling=Tiling(tile=(size, size), halo=halo)).sr for picture in pictures]
        agreement = compare(tiled, wanted)
        if agreement.max_level <= 1 and agreement.share_changed <= HALO_SHARE:
            return halo, agreement
    raise ParityFailed(
        f"tiles with a halo of {MAX_HALO} still change {agreement.share_changed:.2%} of the pixels",
        expected=f"at most {HALO_SHARE:.1%} by one level",
    )


def export(checkpoint: Path, output: Path, *, dtype: Dtype) -> None:
    """Writes `output`, whole and checked or not at all. Raises GpsrError's children."""
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"the output is named {output.suffix!r}", expected=".onnx", path=output)
    atomic.clean_stale(output.parent)
    atomic.require_writable(output)
    network, info = checkpoint_file.load(checkpoint)
    graph = to_graph(fold(network), dtype)

    def model(halo: int) -> OnnxModel:
        spec = SRSpec(
            name=info.name,
            scale=info.scale,
            halo=halo,
            multiple_of=MULTIPLE_OF,
            tiling="aligned",
            dtype=dtype,
            checkpoint_sha256=info.sha256,
        )
        content = onnx_file.stamped(graph, spec)
        checked, costs = onnx_file.check(content)
        return OnnxModel(content=content, sha256="", spec=checked, costs=costs)

    unmeasured = model(halo=MAX_HALO)
    with OnnxRuntimeBackend(unmeasured) as backend, TorchBackend(network, unmeasured.spec, device="cpu") as reference:
        parity = check_parity(backend, reference)
        halo, tiled = measure_halo(backend)
    final = model(halo=halo)
    atomic.write(output, final.content)
    before = count_macs(network)
    print(f"{output}: {info.name} {dtype}, {final.costs.params:,} parameters")
    print(
        f"  folds: {before / 1e9:.1f} -> {final.costs.macs_720p / 1e9:.1f} G multiply-adds at 1280x720 "
        f"({1 - final.costs.macs_720p / before:.1%} saved)"
    )
    print(
        f"  graph ~ torch: {parity.psnr_db:.1f} dB, largest difference {parity.max_difference:.1e}, {parity.max_level} levels"
    )
    print(f"  halo {halo}: tiles change {tiled.share_changed:.4%} of the pixels by {tiled.max_level} level")


def main(arguments: list[str]) -> int:
    """Exports one checkpoint; returns the exit code."""
    parser = argparse.ArgumentParser(description="Export a GPSR checkpoint to ONNX, checked against torch.")
    parser.add_argument("--scale", type=int, choices=[4, 8], default=4)
    parser.add_argument("--model", choices=["gpsr", "lite", "nano"], default="nano")
    parser.add_argument("--checkpoint", type=Path, help="default: weights/gpsr_MODEL_xSCALE.safetensors")
    parser.add_argument("--precision", choices=["fp32", "fp16"], default="fp32")
    parser.add_argument("-o", "--output", type=Path, help="default: gpsr_MODEL_xSCALE.onnx, or ..._fp16.onnx, here")
    options = parser.parse_args(arguments)
    stem = f"gpsr_{options.model}_x{options.scale}"
    checkpoint = options.checkpoint or Path(__file__).parent.parent / "weights" / f"{stem}.safetensors"
    output = options.output or Path(f"{stem}{'_fp16' if options.precision == 'fp16' else ''}.onnx")
    logging.disable(logging.WARNING)  # the exporter's notes about packages that it could also use
    info = checkpoint_file.read_info(checkpoint)
    if (info.member, info.scale) != (options.model, options.scale):
        raise ModelRefused(
            f"the checkpoint is {info.name}",
            expected=f"{options.model} x{options.scale}, as asked",
            remedy=f"--model {info.member} --scale {info.scale}",
            path=checkpoint,
        )
    export(checkpoint, output, dtype=options.precision)
    return 0


if __name__ == "__main__":
    program.run(main)
