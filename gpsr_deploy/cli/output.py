"""Where a command's words go: data to stdout, everything said to people to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from gpsr_deploy.errors import OutputUnwritable, printable


def data(found: dict[str, object]) -> None:
    """One JSON object as one line on stdout; errors as `text`."""
    text(json.dumps(found, allow_nan=False))


def text(line: str) -> None:
    """A line on stdout. Raises OutputUnwritable, or BrokenPipeError where the reader has gone."""
    with _stdout():
        if sys.stdout:
            encoding = sys.stdout.encoding or "utf-8"
            print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def flush() -> None:
    """Sends on what was printed on stdout, where there is one; errors as `text`."""
    with _stdout():
        if sys.stdout:
            sys.stdout.flush()


@contextlib.contextmanager
def _stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputUnwritable(
            f"cannot be written ({error.strerror})", expected="a place with space", path="stdout"
        ) from error


def say(line: object) -> None:
    """A line on stderr; lost where stderr is closed or full, which must not end the work."""
    if sys.stderr:
        try:
            print(line, file=sys.stderr, flush=True)
        except OSError:
            give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Lets go of what a stream did not take: Python would try once more at its end, complain, and exit with 120."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def to_terminal() -> bool:
    """Whether what is said goes to a terminal, where a bar can move."""
    return sys.stderr is not None and sys.stderr.isatty()


def warn(path: object, text: str) -> None:
    """A warning about a file, on stderr."""
    say(f"warning: {printable(path)}: {printable(text)}")
