"""`python -m gpsr_deploy`, which is `gpsr-trt`: an interrupt while it is still being imported ends it without a traceback."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Runs the command line; returns the exit code."""
    try:
        from gpsr_deploy.cli import main as command_line
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return command_line()


if __name__ == "__main__":
    sys.exit(main())
