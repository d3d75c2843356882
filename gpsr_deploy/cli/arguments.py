"""Numbers on a command line: argparse types whose complaints say what was expected."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number from 1."""
    return _number(text, 1)


def not_negative(text: str) -> int:
    """A whole number from 0."""
    return _number(text, 0)


def _number(text: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from {least}")
    return int(text)
