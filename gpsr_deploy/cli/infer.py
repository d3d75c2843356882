"""`gpsr-trt infer`: pictures in, larger pictures out."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gpsr_deploy.cli import output
from gpsr_deploy.cli.arguments import not_negative, positive
from gpsr_deploy.errors import BatchIncomplete, GpsrError, UsageError, printable
from gpsr_deploy.machine import cores

DEFAULT_SCALE = 4
"""Of the model that runs when neither a scale nor a model is named."""

if TYPE_CHECKING:
    from gpsr_deploy.backends import Backend
    from gpsr_deploy.infer import Result
    from gpsr_deploy.jobs import Job
    from gpsr_deploy.upscale import Progress, Tiling


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "infer", help="enlarge pictures", description="Enlarges pictures: files, folders, patterns."
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="a picture, a folder of pictures, or a quoted pattern like '*.png'"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a file for one input, else a folder (default: beside each input)",
    )
    parser.add_argument(
        "-f", "--ext", metavar="EXT", help="format of the output: png, jpg, webp, tif (default: as the input)"
    )
    parser.add_argument(
        "--suffix",
        metavar="TEXT",
        help="added to the name of each output (default: _x4 beside the input, nothing with -o)",
    )
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="folders with their subfolders, laid out alike under OUT"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--skip-existing", action="store_true", help="leave out inputs whose output is there")
    existing.add_argument("--overwrite", action="store_true", help="replace outputs that are there")

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
    model.add_argument(
        "--runtime",
        choices=["onnxruntime", "openvino", "torch", "tensorrt", "tensorrt-rtx"],
        help="default: by the model's kind",
    )
    model.add_argument(
        "--trust-engine",
        action="store_true",
        help="run a plan without its sidecar: it is a program, and nobody knows what it computes",
    )
    model.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:INDEX (default: auto)"
    )
    model.add_argument("--threads", type=_threads, metavar="N", help="CPU threads (default: all cores)")
    model.add_argument(
        "-x",
        "--self-ensemble",
        action="store_true",
        help="average over eight flips and rotations: a bit better, 8 times slower",
    )

    tiling = parser.add_argument_group("tiles (LR pixels)")
    tiling.add_argument(
        "-t",
        "--tile",
        type=_size,
        default=(0, 0),
        metavar="TILE",
        help="N or HEIGHTxWIDTH, overlap included; 0: by the memory at hand",
    )
    tiling.add_argument(
        "--overlap",
        "--tile-pad",
        type=not_negative,
        metavar="PX",
        help="context per side (default: measured for the model)",
    )
    tiling.add_argument("--no-tile", action="store_true", help="each picture in one piece")

    messages = parser.add_argument_group("messages")
    messages.add_argument("--json", action="store_true", help="one JSON object per picture on stdout")
    loudness = messages.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="errors only")
    loudness.add_argument("-v", "--verbose", action="store_true", help="also how each picture was cut")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Enlarges every input. One input: its own exit code; several: BatchIncomplete (8) where some failed."""
    from gpsr_deploy import atomic, jobs

    tiling = _tiling(options)
    with _backend(options) as backend:
        plan = jobs.collect(
            options.inputs,
            output=options.output,
            suffix=options.suffix,
            extension=options.ext,
            scale=backend.spec.scale,
            recursive=options.recursive,
        )
        for folder in {job.target.parent for job in plan.jobs}:
            atomic.clean_stale(folder)
        for error in plan.unread:
            _failed(str(error.path), error, options)
        failures = len(plan.unread)
        todo = [job for job in plan.jobs if not (options.skip_existing and os.path.lexists(job.target))]
        if options.verbose and len(todo) < len(plan.jobs):
            output.say(f"{len(plan.jobs) - len(todo)} outputs are there already and are left out")
        for number, job in enumerate(todo, 1):
            try:
                count = f"{number}/{len(todo)} " if len(todo) > 1 else ""
                _done(_infer(backend, job, tiling, options, count), backend, options)
            except GpsrError as error:
                error.path = job.source if error.path is None else error.path
                _failed(str(job.source), error, options, said=not plan.single)
                if plan.single:
                    raise
                failures += 1
    if failures:
        raise BatchIncomplete(
            f"{failures} of {len(todo) + len(plan.unread)} inputs failed",
            remedy="see the errors above; --skip-existing goes on where this ended",
        )
    return 0


@contextlib.contextmanager
def _backend(options: argparse.Namespace) -> Iterator[Backend]:
    """The model asked for, opened. With --json each input is told of its refusal."""
    from gpsr_deploy.backends import open_backend
    from gpsr_deploy.ensemble import SelfEnsemble
    from gpsr_deploy.models import shipped
    from gpsr_deploy.proof import prove_once

    stack = contextlib.ExitStack()
    try:
        path = options.engine or shipped(DEFAULT_SCALE if options.scale is None else options.scale)
        backend = stack.enter_context(
            open_backend(
                path,
                device=options.device,
                runtime=options.runtime,
                threads=options.threads,
                scale=options.scale,
                trust_engine=options.trust_engine,
            )
        )
        unproved = prove_once(backend, path)
        if unproved and not options.quiet:
            output.say(f"warning: {printable(path)}: {unproved}")
    except GpsrError as error:
        stack.close()
        for name in options.inputs:
            _failed(name, error, options, said=False)
        raise
    with stack:
        yield SelfEnsemble(backend) if options.self_ensemble else backend


def _tiling(options: argparse.Namespace) -> Tiling:
    from gpsr_deploy.upscale import Tiling

    if options.no_tile and options.tile != (0, 0):
        raise UsageError("--no-tile with --tile", expected="one of them")
    return Tiling(tile=None if options.tile == (0, 0) else options.tile, halo=options.overlap, whole=options.no_tile)


def _infer(backend: Backend, job: Job, tiling: Tiling, options: argparse.Namespace, count: str) -> Result:
    from gpsr_deploy.infer import infer

    with _progress_bar(f"{count}{printable(job.source.name)}", shown=not options.quiet) as on_progress:
        return infer(
            backend,
            job.source,
            job.target,
            tiling=tiling,
            overwrite=options.overwrite,
            on_progress=on_progress,
        )


def _done(result: Result, backend: Backend, options: argparse.Namespace) -> None:
    for warning in result.warnings:
        if not options.quiet:
            output.say(f"warning: {printable(result.source)}: {printable(warning)}")
    if options.verbose:
        grown = any(size > asked > 0 for size, asked in zip(result.tile, options.tile, strict=True))
        rounded = f" (--tile {options.tile[0]}x{options.tile[1]} was rounded up)" if grown else ""
        output.say(
            f"{result.tiles} tiles of {result.tile[0]}x{result.tile[1]} LR pixels, overlap {result.halo}{rounded}"
        )
    if options.json:
        output.data(
            {
                "input": str(result.source),
                "output": str(result.target),
                "width": result.width,
                "height": result.height,
                "scale": backend.spec.scale,
                "backend": backend.runtime,
                "device": backend.device,
                "tiles": result.tiles,
                "halo": result.halo,
                "seconds": round(result.seconds, 3),
            }
        )
    elif not options.quiet:
        output.say(f"{printable(result.target)}  {result.width}x{result.height}  {result.seconds:.1f} s")


def _failed(name: str, error: GpsrError, options: argparse.Namespace, *, said: bool = True) -> None:
    """Reports that the input `name` failed: on stdout with --json, and on stderr if it is to be said here."""
    if options.json:
        output.data(
            {
                "input": name,
                "error": type(error).__name__,
                "code": error.exit_code,
                "message": error.message,
                "try": error.remedy,
            }
        )
    if said:
        output.say(error)


@contextlib.contextmanager
def _progress_bar(title: str, *, shown: bool) -> Iterator[Progress | None]:
    """A bar on the terminal's stderr; nothing where stderr goes elsewhere."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=title, unit="tile", leave=False, file=sys.stderr) as bar:

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
