"""`gpsr-trt bench`: how fast a model is here, alone or against another."""

from __future__ import annotations

import argparse
import contextlib
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpsr_deploy.cli import output
from gpsr_deploy.cli.arguments import height_width, positive
from gpsr_deploy.cli.model_options import add_runtime

if TYPE_CHECKING:
    from gpsr_deploy.proof.bench import Figures
    from gpsr_deploy.proof.parity import Agreement


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.description = (
        "Times a model on photographs, copies to the device and back included; with --vs two, in turns."
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--engine", type=Path, metavar="FILE", help="the model (default: the one that ships for -s)")
    which.add_argument(
        "-s", "--scale", type=positive, default=4, metavar="N", help="of the model that ships (default 4)"
    )
    add_runtime(parser)
    parser.add_argument(
        "--vs", type=Path, metavar="FILE", help="another, or the same in another way, of one scale, to take turns with"
    )
    add_runtime(parser, of="vs-")
    parser.add_argument(
        "--size",
        type=height_width,
        metavar="HxW",
        help="LR pixels of a picture (default: those of 1280x720 SR pixels, within the engine's profile)",
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="pictures per run (default 1)")
    parser.add_argument("--rounds", type=positive, default=20, metavar="N", help="timed runs of each (default 20)")
    parser.add_argument("--warmup", type=positive, default=3, metavar="N", help="runs before those (default 3)")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu or cuda[:INDEX] (default: auto)")
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints what was measured. Raises NonFinite, and no figure is printed, where a result is no picture."""
    from gpsr_deploy.backends import open_backend
    from gpsr_deploy.backends.choice import shipped
    from gpsr_deploy.proof import bench

    ways = [
        {"runtime": options.runtime, "precision": options.precision},
        {"runtime": options.vs_runtime, "precision": options.vs_precision},
    ]
    own = options.engine or shipped(options.scale, **ways[0], device=options.device)
    paths = [own, *filter(None, [options.vs])]
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(
                open_backend(
                    path,
                    device=options.device,
                    **way,
                    threads=options.threads,
                    on_warning=partial(output.warn, path),
                )
            )
            for path, way in zip(paths, ways, strict=False)
        ]
        size = bench.size_for(opened, options.size, batch=options.batch)
        if options.size not in (None, size):
            output.say(f"--size was rounded up to {size[0]}x{size[1]}, which the network can take")
        works = bench.works_of(paths, opened)
        batch = bench.photographs(size, batch=options.batch)
        measured = bench.measure(opened, batch, rounds=options.rounds, warmup=options.warmup)
        agreement = bench.agreement(*opened, size=size) if options.vs else None
        found = [
            bench.figures(path, backend, runs, work=work, size=size, batch=options.batch)
            for path, backend, runs, work in zip(paths, opened, measured, works, strict=True)
        ]
    if options.json:
        _data(options, size, found, agreement)
    else:
        _table(options, size, found, agreement)
    return 0


def _data(
    options: argparse.Namespace, size: tuple[int, int], found: list[Figures], agreement: Agreement | None
) -> None:
    from dataclasses import asdict

    parity = None
    if agreement is not None:
        psnr = agreement.psnr_db if math.isfinite(agreement.psnr_db) else None
        parity = {"psnr_db": psnr, "max_level": agreement.max_level}
    output.data(
        {
            "size": size,
            "batch": options.batch,
            "rounds": options.rounds,
            "warmup": options.warmup,
            **asdict(found[0]),
            "vs": asdict(found[1]) if options.vs else None,
            "ratio": found[1].ms_median / found[0].ms_median if options.vs else None,
            "parity": parity,
        }
    )


def _table(
    options: argparse.Namespace, size: tuple[int, int], found: list[Figures], agreement: Agreement | None
) -> None:
    from gpsr_deploy.errors import printable

    turns = " in turns" if options.vs else ""
    output.text(
        f"{size[0]}x{size[1]} LR pixels, {options.batch} at once; {options.rounds} runs each{turns}, after {options.warmup}"
    )
    names = [printable(Path(one.engine).name) for one in found]
    width = max(map(len, names))
    output.text(
        f"{'':{width}}  {'runtime':12} {'precision':9} {'device':8} {'median':>10} {'95 %':>10} {'pictures/s':>11} "
        f"{'TFLOP/s':>8} "
        f"{'of the':8} {'MiB':>7} {'copies':>7}"
    )
    for name, one in zip(names, found, strict=True):
        memory = "-" if one.peak_mib is None else f"{one.peak_mib:.0f}"
        copies = "-" if one.copies_share is None else f"{one.copies_share:.0%}"
        output.text(
            f"{name:{width}}  {one.runtime:12} {one.precision:9} {one.device:8} {one.ms_median:7.1f} ms "
            f"{one.ms_p95:7.1f} ms {one.fps:11.2f} "
            f"{one.tflops:8.3f} {one.macs:8} {memory:>7} {copies:>7}"
        )
    if options.vs:
        output.text(f"ratio {found[1].ms_median / found[0].ms_median:.2f}: {names[1]}'s time over {names[0]}'s")
        if agreement is None:
            output.text("parity: not compared, their weights differ")
        else:
            psnr = f"{agreement.psnr_db:.1f} dB" if math.isfinite(agreement.psnr_db) else "equal"
            output.text(f"parity: {psnr}, at most {agreement.max_level} level, on {agreement.images} photographs")
