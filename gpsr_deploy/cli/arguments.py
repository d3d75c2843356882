"""How command lines are read here: a parser whose complaints are our errors, and types that say what was expected."""

from __future__ import annotations

import argparse
import math
import re
import sys
from typing import TYPE_CHECKING, NoReturn

from gpsr_deploy.cli import output
from gpsr_deploy.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are our errors."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(message, remedy=f"{self.prog} --help")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """As argparse's, but what stdout cannot take is an error."""
        if file is sys.stderr:
            output.say(message.rstrip("\n"))
        else:
            output.text(message.rstrip("\n"))


def positive(text: str) -> int:
    """A whole number from 1."""
    return _number(text, 1)


def not_negative(text: str) -> int:
    """A whole number from 0."""
    return _number(text, 0)


def positive_float(text: str) -> float:
    """A finite number above 0."""
    value = _float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return value


def not_negative_float(text: str) -> float:
    """A finite number from 0."""
    value = _float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0")
    return value


def height_width(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH, both from 1."""
    found = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    if found is None or not int(found[1]) or not int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r}: expected HEIGHTxWIDTH")
    return int(found[1]), int(found[2])


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number(text: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from {least}")
    return int(text)
