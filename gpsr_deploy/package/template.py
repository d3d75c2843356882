"""Templates with @NAMES@ in them, and what may be put there: plain text, so that no value can become code anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

_PLACE = re.compile(r"@([A-Z][A-Z0-9_]*)@")
_SAFE = re.compile(r"[A-Za-z0-9 _.,:%/()~=-]*")
"""No quote, no bracket of a tag, no `$`, `\\`, backtick, `#`, `*` or line's end: plain in Python, shell, protobuf's text, CMake,
C++ and Markdown, within quotes and within comments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to be written."""

    content: bytes
    executable: bool = False


def render(template: str, values: Mapping[str, object], *, header: Iterable[str]) -> File:
    """The template `NAME.in` of this package, filled in; executable where it begins with `#!`.

    `header` stands at @HEADER@, as a comment of the language that NAME's suffix says. Raises ValueError for a value that is
    not plain text, KeyError for a place without a value: both are bugs here.
    """
    text = resources.files("gpsr_deploy.package").joinpath(f"templates/{template}.in").read_text(encoding="utf-8")
    made = {name: plain(value) for name, value in values.items()} | {"HEADER": _header(template, header)}
    filled = _PLACE.sub(lambda place: made[place[1]], text)
    return File(content=filled.encode(), executable=text.startswith("#!"))


def plain(value: object) -> str:
    """`value` as text. Raises ValueError where it is more than plain text."""
    text = str(value)
    if not _SAFE.fullmatch(text):
        raise ValueError(f"{text!r} is not plain text")
    return text


def comment(lines: Iterable[str], mark: str) -> str:
    """`lines`, each behind the `mark` that begins a comment."""
    return "".join(f"{mark} {plain(line)}\n" for line in lines)


def _header(template: str, lines: Iterable[str]) -> str:
    match template.rpartition(".")[2]:
        case "md":
            return "<!--\n" + "".join(f"{plain(line)}\n" for line in lines) + "-->"
        case "cpp":
            return comment(lines, "//").rstrip("\n")
        case _:
            return comment(lines, "#").rstrip("\n")
