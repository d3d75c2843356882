"""How a program ends, `gpsr-trt` or another: one line and an exit code for whatever ended it, and no traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from gpsr_deploy.cli import output
from gpsr_deploy.cli.signals import Terminated, raising_on_signals, say_interrupted
from gpsr_deploy.errors import GpsrError, OutOfMemory, OutputUnwritable


def run(main: Callable[[list[str]], int]) -> NoReturn:
    """Calls `main` with the command line's arguments and ends the process with the code of what came of it."""

    def command() -> int:
        with raising_on_signals():
            return main(sys.argv[1:])

    sys.exit(outcome(command))


def outcome(work: Callable[[], int]) -> int:
    """What `work` returns; else the code of the GpsrError that ended it, which is said, or 128 + the signal's number."""
    try:
        code = work()
        output.flush()
        return code
    except GpsrError as error:
        output.say(error)
        try:
            output.flush()
        except (GpsrError, BrokenPipeError):
            output.give_up(sys.stdout)
        return error.exit_code
    except MemoryError:
        output.say(OutOfMemory("memory ran out", remedy="less at once: a smaller --tile or --batch"))
        return OutOfMemory.exit_code
    except KeyboardInterrupt:
        say_interrupted()
        return 128 + signal.SIGINT
    except Terminated:
        return 128 + signal.SIGTERM
    except BrokenPipeError:  # whoever read stdout has gone
        output.give_up(sys.stdout)
        return OutputUnwritable.exit_code
