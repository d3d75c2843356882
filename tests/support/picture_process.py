"""Python in a process of its own, with `images` at hand: for what a process uses up, may do, or leaves when it dies."""

from __future__ import annotations

import subprocess
import sys

from project import ROOT


def python(code: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Another process with our module imported as `images`, `Path` and `sys.argv` at hand."""
    head = "import sys, os, time; from pathlib import Path; import numpy as np; from gpsr_deploy import atomic; from gpsr_deploy.media import images\n"
    command = [*wrapper, sys.executable, "-c", head + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def output_of(process: subprocess.Popen[str]) -> str:
    """What the process says, which has to end well and in silence on stderr."""
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out
