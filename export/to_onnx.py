"""Exports a checkpoint to ONNX, and leaves a file only if it computes what the checkpoint computes.

    python export/to_onnx.py --scale 4 --model nano

folds the network, writes a graph with dynamic batch, height and width, compares it with torch on real photographs of
several sizes, measures the halo that these very weights need, and stamps what it found into the file.
"""

from __future__ import annotations

import gpsr_deploy.cli.early  # noqa: F401 - first, since what follows takes seconds

# isort: split

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from gpsr_deploy import atomic
from gpsr_deploy.backends import Backend
from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend
from gpsr_deploy.backends.torch import TorchBackend
from gpsr_deploy.cli import program
from gpsr_deploy.cli.arguments import Parser
from gpsr_deploy.errors import BackendUnavailable, ModelRefused, ParityFailed, UsageError
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.model_files.onnx import OnnxModel
from gpsr_deploy.network.family import MULTIPLE_OF
from gpsr_deploy.network.folds import fold
from gpsr_deploy.network.gpsr import GPSR
from gpsr_deploy.network.sizes import count_macs
from gpsr_deploy.proof import parity, quality
from gpsr_deploy.proof.parity import Agreement
from gpsr_deploy.spec import INPUT, OUTPUT, Dtype, Quality, SRSpec
from gpsr_deploy.upscaling.upscale import SMALLEST_KEEP, Tiling, upscale

OPSET = 20

FP32_TOLERANCE = 1e-5
"""Largest difference from torch, of values in [0, 1]."""

MAX_HALO = 96

PARITY_SIZES = ((96, 96), (51, 120), (147, 78), (3, 6), (1, 1))
"""LR (height, width) of the crops that are compared; those that are no multiples of 3 are padded as a picture would be."""

TILES_PER_SIDE = 5
"""How many tiles of SMALLEST_KEEP cut each side of the pictures that a halo is measured on: most have neighbours all around."""


class HalfInside(nn.Module):
    """Computes in float16, but for the branches that are kept in float32; takes and gives float32."""

    def __init__(self, network: GPSR, kept: Sequence[str] = ()) -> None:
        """`kept` are names of submodules. Raises UsageError for one that there is not."""
        super().__init__()
        self.network = network.half()
        branches = branches_of(network)
        for name in kept:
            if name not in branches:
                raise UsageError(f"--keep-fp32 {name}", expected=f"some of {', '.join(branches)}")
            gives = torch.float32 if name == "tail" else torch.float16  # nothing comes after the tail
            network.set_submodule(name, FloatInside(network.get_submodule(name), gives))

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.network(lr.half()).float()
        return sr


class FloatInside(nn.Module):
    """A branch that computes in float32, takes tensors or lists of them of any type, and gives those of type `gives`."""

    def __init__(self, branch: nn.Module, gives: torch.dtype) -> None:
        super().__init__()
        self.in_fp32 = branch.float()
        self.gives = gives

    def forward(self, *inputs: object) -> object:
        return cast_all(self.in_fp32(*(cast_all(value, torch.float32) for value in inputs)), self.gives)


def cast_all(value: object, dtype: torch.dtype) -> object:
    """A tensor, or every tensor in a list or tuple, as `dtype`."""
    if isinstance(value, Tensor):
        return value.to(dtype)
    assert isinstance(value, list | tuple), "branches take and give tensors"
    return type(value)(cast_all(item, dtype) for item in value)


def branches_of(network: GPSR) -> list[str]:
    """The parts of a network that can be kept in fp32: its submodules, and the members of those that are lists."""
    lists = {name for name, module in network.named_children() if isinstance(module, nn.ModuleList)}
    single = [name for name, _ in network.named_children() if name not in lists]
    return single + [f"{name}.{index}" for name in sorted(lists) for index in range(len(network.get_submodule(name)))]


def to_graph(network: GPSR, dtype: Dtype, *, kept: Sequence[str] = ()) -> onnx.ModelProto:
    """The folded network as a graph with inputs `lr` and outputs `sr`, and N, H and W free.

    In fp16 the branches `kept` stay in fp32. Raises UsageError for one that there is not.
    """
    module = HalfInside(network, kept) if dtype == "fp16" else network
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
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    scale = network.config.scale
    for value, factor in ((model.graph.input[0], ""), (model.graph.output[0], f"{scale}*")):
        for axis, name in ((0, "batch"), (2, f"{factor}height"), (3, f"{factor}width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    return model


def check_parity(backend: Backend, reference: Backend, *, branches: Sequence[str] = ()) -> Agreement:
    """Compares with torch on photographs of several sizes, and on a batch of two.

    Raises ParityFailed, which for fp16 names the `branches` that could stay in fp32.
    """
    agreement = parity.on_photographs(backend, reference, PARITY_SIZES).agreement()
    dtype = backend.spec.dtype
    good = parity.Tolerance(min_psnr_db=parity.MIN_PSNR_DB[dtype]).accepts(agreement)
    if not good or (dtype == "fp32" and agreement.max_difference > FP32_TOLERANCE):
        found_text = f"{agreement.max_difference:.2g}, {agreement.psnr_db:.1f} dB, {agreement.max_level} levels"
        at_most = f", at most {FP32_TOLERANCE:g}" if dtype == "fp32" else ""
        raise ParityFailed(
            f"the exported graph differs from torch by {found_text}",
            expected=f"at least {parity.MIN_PSNR_DB[dtype]:g} dB and at most 1 level{at_most}",
            remedy=f"--keep-fp32 with some of {', '.join(branches)}, or --precision fp32" if dtype == "fp16" else "",
        )
    return agreement


def measure_halo(backend: Backend) -> tuple[int, Agreement]:
    """The smallest halo in LR pixels at which tiles change at most TILED_SHARE of the pixels, each by one level at most.

    Tiles are as small as they ever get (SMALLEST_KEEP), so that every pixel is near a cut: larger tiles change fewer.
    Raises ParityFailed where MAX_HALO is not enough.
    """
    tolerance = parity.Tolerance(max_share=parity.TILED_SHARE)
    for halo in range(MULTIPLE_OF, MAX_HALO + 1, MULTIPLE_OF):
        size = 2 * halo + SMALLEST_KEEP
        side = 2 * halo + TILES_PER_SIDE * SMALLEST_KEEP
        pictures = parity.photographs((side, side))
        tiled = (upscale(backend, picture, tiling=Tiling(tile=(size, size), halo=halo)).sr for picture in pictures)
        agreement = parity.compare(tiled, (parity.whole(backend, picture) for picture in pictures)).agreement()
        if tolerance.accepts(agreement):
            return halo, agreement
    raise ParityFailed(
        f"tiles with a halo of {MAX_HALO} still change {agreement.share_off_by_one:.2%} of the pixels",
        expected=f"at most {parity.TILED_SHARE:.1%} by one level",
    )


def measure_quality(model: OnnxModel) -> Quality:
    """What the photographs that ship lose in bf16; says nothing where the processor has none, or the model is not in fp32."""
    if model.spec.dtype != "fp32":
        return Quality(loss_db={})
    try:
        from gpsr_deploy.backends.openvino import OpenVinoBackend

        with OpenVinoBackend(model) as exact, OpenVinoBackend(model, precision="bf16") as rounded:
            pairs = quality.photographs(model.spec.scale)
            loss = quality.psnr_db(exact, pairs) - quality.psnr_db(rounded, pairs)
    except BackendUnavailable:
        return Quality(loss_db={})
    return Quality(loss_db={"bf16": round(loss, 4)})


def export(checkpoint: Path, output: Path, *, dtype: Dtype, kept: Sequence[str] = ()) -> None:
    """Writes `output`, whole and checked or not at all. Raises GpsrError's children."""
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"the output is named {output.suffix!r}", expected=".onnx", path=output)
    atomic.clean_stale(output.parent)
    atomic.require_writable(output)
    network, info = checkpoint_file.load(checkpoint)
    graph = to_graph(fold(network), dtype, kept=kept)

    def model(halo: int, measured: Quality | None = None) -> OnnxModel:
        spec = SRSpec(
            name=info.name,
            scale=info.scale,
            halo=halo,
            multiple_of=MULTIPLE_OF,
            tiling="aligned",
            dtype=dtype,
            checkpoint_sha256=info.sha256,
        )
        return onnx_file.check(onnx_file.stamped(graph, spec, measured))

    unmeasured = model(halo=MAX_HALO)
    with OnnxRuntimeBackend(unmeasured) as backend, TorchBackend(network, unmeasured.spec, device="cpu") as reference:
        agreement = check_parity(backend, reference, branches=branches_of(fold(network)))
        halo, tiled = measure_halo(backend)
    lower = measure_quality(model(halo=halo))
    final = model(halo=halo, measured=lower)
    atomic.write(output, final.content)
    before = count_macs(network)
    print(f"{output}: {info.name} {dtype}, {final.costs.params:,} parameters")
    print(
        f"  folds: {before / 1e9:.1f} -> {final.costs.macs_720p / 1e9:.1f} G multiply-adds at 1280x720 "
        f"({1 - final.costs.macs_720p / before:.1%} saved)"
    )
    print(
        f"  graph ~ torch: {agreement.psnr_db:.1f} dB, largest difference {agreement.max_difference:.1e}, "
        f"{agreement.max_level} levels"
    )
    for precision, loss in lower.loss_db.items():
        print(f"  {precision}: {loss:+.4f} dB lost on the photographs that ship")
    if dtype == "fp32" and not lower.loss_db:
        print(
            "  bf16: not measured, since OpenVINO or bfloat16 is missing here; so it will run when asked for, not by default"
        )
    print(f"  halo {halo}: tiles change {tiled.share_off_by_one:.4%} of the pixels by {tiled.max_level} level")


def main(arguments: list[str]) -> int:
    """Exports one checkpoint; returns the exit code."""
    parser = Parser(description="Export a GPSR checkpoint to ONNX, checked against torch.")
    parser.add_argument("--scale", type=int, choices=[4, 8], default=4)
    parser.add_argument("--model", choices=["gpsr", "lite", "nano"], default="nano")
    parser.add_argument("--checkpoint", type=Path, help="default: weights/gpsr_MODEL_xSCALE.safetensors")
    parser.add_argument("--precision", choices=["fp32", "fp16"], default="fp32")
    parser.add_argument(
        "--keep-fp32",
        nargs="+",
        default=[],
        metavar="BRANCH",
        help="with fp16: parts that stay in fp32, like tail or decoders.1; `gpsr-trt validate --layers` names one",
    )
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
    if options.keep_fp32 and options.precision != "fp16":
        parser.error("--keep-fp32 goes with --precision fp16")
    export(checkpoint, output, dtype=options.precision, kept=options.keep_fp32)
    return 0


if __name__ == "__main__":
    program.run(main)
