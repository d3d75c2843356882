"""The command line: parse, call, print, exit code. Commands import what they run when they run it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from importlib import import_module

from gpsr_deploy import __version__
from gpsr_deploy.cli import program
from gpsr_deploy.cli.arguments import Parser
from gpsr_deploy.cli.signals import ending_on_signals

COMMANDS = {
    "infer": "enlarge pictures",
    "video": "enlarge a film, or frames in a pipe",
    "build": "build an engine for GPUs",
    "validate": "prove that a model computes what it was made from",
    "bench": "how fast a model is here, alone or against another",
    "package": "a ready folder for Triton, VapourSynth, GStreamer, ffmpeg or C++",
    "inspect": "what a model file is, for what, from what",
    "doctor": "what this machine can run",
}
"""What the list of commands says of each: a file of its name has the rest, and is imported when it is asked for."""

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
        given = sys.argv[1:] if arguments is None else arguments
        named = next((argument for argument in given if not argument.startswith("-")), None)
        options = parser([name for name in COMMANDS if name == named]).parse_args(arguments)
        with ending_on_signals():
            code: int = options.run(options)
            return code

    return program.outcome(command)


def parser(whole: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser of all commands, of which those in `whole` have their options; these carry the function that runs it."""
    top = Parser(
        prog="gpsr-trt",
        description="GPSR super-resolution: pictures four or eight times larger, and sharper than bicubic makes them.",
        epilog=START,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"gpsr-deploy {__version__}")
    top.set_defaults(run=lambda _options: _show_start(top))
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        parser_of = commands.add_parser(name, help=summary)
        if name in whole:
            import_module(f"gpsr_deploy.cli.{name}").add_to(parser_of)
    return top


def _show_start(top: argparse.ArgumentParser) -> int:
    top.print_help(sys.stderr)
    return 2
