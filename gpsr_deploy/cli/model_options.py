"""What the commands that run a model share: its options, the model opened as they say, tiles, messages, progress."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gpsr_deploy.cli import output
from gpsr_deploy.cli.arguments import not_negative, positive
from gpsr_deploy.errors import UsageError
from gpsr_deploy.machine import cores

DEFAULT_SCALE = 4
"""Of the model that runs when neither a scale nor a model is named."""

if TYPE_CHECKING:
    from gpsr_deploy.backends import Backend
    from gpsr_deploy.upscaling.upscale import Progress, Tiling


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds which model, and what runs it: what `opened` reads."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--engine",
        type=Path,
        metavar="FILE",
        help="a .plan, .onnx or .safetensors model (default: the one that ships for -s)",
    )
    model.add_argument(
        "-s",
        "--scale",
        type=positive,
        metavar="N",
        help="how many times larger (default: the model's; 4 without --engine)",
    )
    add_runtime(model)
    model.add_argument(
        "--trust-engine",
        action="store_true",
        help="run a plan without its sidecar: it is a program, and nobody knows what it computes",
    )
    model.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:INDEX (default: auto)"
    )
    model.add_argument(
        "--threads", type=_threads, metavar="N", help="CPU threads (default: as many as the runtime finds best)"
    )
    model.add_argument(
        "-x",
        "--self-ensemble",
        action="store_true",
        help="average over eight flips and rotations: a bit better, 8 times slower",
    )


def add_runtime(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, of: str = "") -> None:
    """Adds --runtime and --precision, or, `of` being `vs-`, the same for a second model."""
    parser.add_argument(
        f"--{of}runtime",
        choices=["auto", "onnxruntime", "openvino", "torch", "tensorrt", "tensorrt-rtx"],
        default="auto",
        help="default: auto, the fastest that is installed and takes the model",
    )
    parser.add_argument(
        f"--{of}precision",
        choices=["auto", "fp32", "fp16", "bf16", "int8"],
        default="auto",
        help="default: auto, the fastest that keeps the model's quality; fp32 is the exact one",
    )


def add_tiling(parser: argparse.ArgumentParser) -> None:
    """Adds how pictures are cut: what `tiling` reads."""
    group = parser.add_argument_group("tiles (LR pixels)")
    group.add_argument(
        "-t",
        "--tile",
        type=_size,
        default=(0, 0),
        metavar="TILE",
        help="N or HEIGHTxWIDTH, overlap included; 0: by the memory at hand",
    )
    group.add_argument(
        "--overlap",
        "--tile-pad",
        type=not_negative,
        metavar="PX",
        help="context per side (default: measured for the model)",
    )
    group.add_argument("--no-tile", action="store_true", help="each picture in one piece")


def add_messages(parser: argparse.ArgumentParser, *, json: str, verbose: str) -> None:
    """Adds how much is said; `json` and `verbose` are the help of these two."""
    messages = parser.add_argument_group("messages")
    messages.add_argument("--json", action="store_true", help=json)
    loudness = messages.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="errors only")
    loudness.add_argument("-v", "--verbose", action="store_true", help=verbose)


@contextlib.contextmanager
def opened(options: argparse.Namespace) -> Iterator[Backend]:
    """The model asked for. Raises what open_backend raises; says on stderr where an engine is not proved."""
    from gpsr_deploy.backends import open_backend
    from gpsr_deploy.proof.engines import prove_once
    from gpsr_deploy.upscaling.ensemble import SelfEnsemble

    path = model_path(options)

    def warn(text: str) -> None:
        if not options.quiet:
            output.warn(path, text)

    with open_backend(
        path,
        device=options.device,
        runtime=options.runtime,
        precision=options.precision,
        threads=options.threads,
        scale=options.scale,
        trust_engine=options.trust_engine,
        on_warning=warn,
    ) as backend:
        unproved = prove_once(backend, path)
        if unproved:
            warn(unproved)
        yield SelfEnsemble(backend) if options.self_ensemble else backend


def model_path(options: argparse.Namespace) -> Path:
    """The file of the model asked for. Raises UsageError or ModelRefused where none ships for the scale."""
    from gpsr_deploy.backends.choice import shipped

    if options.engine is not None:
        return Path(options.engine)
    scale = DEFAULT_SCALE if options.scale is None else options.scale
    return shipped(scale, runtime=options.runtime, precision=options.precision, device=options.device)


def tiling(options: argparse.Namespace) -> Tiling:
    """How pictures are to be cut. Raises UsageError."""
    from gpsr_deploy.upscaling.upscale import Tiling

    if options.no_tile and options.tile != (0, 0):
        raise UsageError("--no-tile with --tile", expected="one of them")
    return Tiling(tile=None if options.tile == (0, 0) else options.tile, halo=options.overlap, whole=options.no_tile)


@contextlib.contextmanager
def progress_bar(title: str, *, unit: str, shown: bool) -> Iterator[Progress | None]:
    """A bar on the terminal's stderr; nothing where stderr goes elsewhere."""
    if not shown or not output.to_terminal():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=title, unit=unit, leave=False, file=sys.stderr) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield on_progress


def _threads(text: str) -> int:
    threads, most = positive(text), cores()
    if threads > most:
        raise argparse.ArgumentTypeError(f"{text}: expected at most {most}, the cores of this machine")
    return threads


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected N or HEIGHTxWIDTH")
    height = int(found[1])
    return height, int(found[2]) if found[2] else height
