"""`gpsr-trt package`: a ready folder for another program."""

from __future__ import annotations

import argparse
from pathlib import Path

from gpsr_deploy.cli import output
from gpsr_deploy.cli.arguments import positive
from gpsr_deploy.errors import printable

TARGETS = ("triton", "vapoursynth", "gstreamer", "ffmpeg", "cpp")
"""As gpsr_deploy.package has them; here, since `--help` imports no more than it prints."""

NEXT = "README.md in it says what to type"


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.description = (
        "Writes a folder with the model, what runs it in another program, and a README.md. The folder appears whole or "
        "not at all, and each file in it says from which model it came."
    )
    parser.add_argument("target", choices=TARGETS, metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument(
        "--engine", type=Path, metavar="FILE", help=".plan or .onnx (default: the one that ships for -s)"
    )
    parser.add_argument("-s", "--scale", type=positive, metavar="N", help="of the model (default: the model's; else 4)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="a new or an empty folder")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that this command wrote")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("-q", "--quiet", action="store_true", help="nothing said but errors")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Writes the folder. Raises GpsrError's children and leaves what was there then."""
    from gpsr_deploy.models import shipped
    from gpsr_deploy.package import package

    model: Path = options.engine or shipped(options.scale or 4)
    packed = package(options.target, model, options.output, scale=options.scale, overwrite=options.overwrite)
    if not options.quiet:
        for warning in packed.warnings:
            output.warn(model, warning)
    if options.json:
        output.data(
            {"target": packed.target, "engine": str(model), "output": str(options.output), "files": list(packed.files)}
        )
    elif not options.quiet:
        output.say(f"{printable(options.output)}: {len(packed.files)} files; {NEXT}")
    return 0
