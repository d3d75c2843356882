"""The command line: parse, call, print, exit code. Commands import what they run when they run it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gpsr_deploy import __version__
from gpsr_deploy.cli import bench, build, doctor, infer, inspect, package, program, validate, video
from gpsr_deploy.cli.arguments import Parser
from gpsr_deploy.cli.signals import ending_on_signals

START = """\
start here:
  gpsr-trt infer photo.jpg                 writes photo_x4.jpg beside it, on the CPU, with the model that ships
  gpsr-trt infer shots/ -o large/ -r       a folder; files that fail are listed at the end
  gpsr-trt video film.mp4 -o large.mkv     a film, with its sound and subtitles
  gpsr-trt bench                           how fast that model is here; --vs FILE: against another
  gpsr-trt inspect model.onnx              what a model is, for what, from what
  gpsr-trt doctor                          what this machine can run
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, that of the GpsrError that ended it, or 128 + the signal's number."""

    def command() -> int:
        options = parser().parse_args(arguments)
        with ending_on_signals():
            code: int = options.run(options)
            return code

    return program.outcome(command)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each command's options carry the function that runs it."""
    top = Parser(
        prog="gpsr-trt",
        description="GPSR super-resolution: pictures four or eight times larger, and sharper than bicubic makes them.",
        epilog=START,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"gpsr-deploy {__version__}")
    top.set_defaults(run=lambda _options: _show_start(top))
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for command in (infer, video, build, validate, bench, package, inspect, doctor):
        command.add_to(commands)
    return top


def _show_start(top: argparse.ArgumentParser) -> int:
    top.print_help(sys.stderr)
    return 2
