"""How a program that is no command of `gpsr-trt` ends: with the same line and exit code for an error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from gpsr_deploy.cli import output
from gpsr_deploy.errors import GpsrError


def run(main: Callable[[list[str]], int]) -> NoReturn:
    """Calls `main` with the command line's arguments and ends the process with its code, or that of its GpsrError."""
    try:
        code = main(sys.argv[1:])
    except GpsrError as error:
        output.say(error)
        code = error.exit_code
    sys.exit(code)
