"""The errors that users meet: each carries its exit code and says what was found, what was expected and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

MAX_SHOWN = 300
"""Characters of a path or of found text that an error line shows; hostile input can be longer."""


def printable(text: object) -> str:
    """`text` as one line that is safe on a terminal: control characters and undecodable bytes become escapes.

    Longer text than MAX_SHOWN characters is cut in the middle, since both ends of a path matter.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    if len(shown) > MAX_SHOWN:
        half = MAX_SHOWN // 2
        shown = f"{shown[:half]}...{shown[-half:]}"
    return shown


class GpsrError(Exception):
    """Base of all errors raised on purpose.

    `found`, `expected` and `remedy` are clauses without a final full stop; `expected` and `remedy` may be empty where
    they would only repeat `found`. `path` is the file concerned, if one is.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, found: str, *, expected: str = "", remedy: str = "", path: Path | str | None = None) -> None:
        super().__init__(found, expected, remedy, path)
        self.found = found
        self.expected = expected
        self.remedy = remedy
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled by its clauses: errors cross process borders."""
        return _rebuilt, (type(self), self.found, self.expected, self.remedy, self.path)

    @property
    def message(self) -> str:
        """What was found and what was expected, without path and remedy."""
        expected = f" Expected {printable(self.expected)}." if self.expected else ""
        return f"{printable(self.found)}.{expected}"

    def __str__(self) -> str:
        where = f" {printable(self.path)}:" if self.path is not None else ""
        remedy = f" Try: {printable(self.remedy)}." if self.remedy else ""
        return f"error[{self.exit_code}]{where} {self.message}{remedy}"


def _rebuilt(kind: type[GpsrError], found: str, expected: str, remedy: str, path: Path | str | None) -> GpsrError:
    return kind(found, expected=expected, remedy=remedy, path=path)


class UsageError(GpsrError):
    """The request contradicts itself or asks for what does not exist."""

    exit_code = 2


class InputUnreadable(GpsrError):
    """An input is missing, damaged, too large, or of a kind that is not read."""

    exit_code = 3


class OutputUnwritable(GpsrError):
    """An output cannot be written: permissions, space, limits of the format, or a file that stands there already."""

    exit_code = 4


class ModelRefused(GpsrError):
    """A model or engine is damaged, unsafe, of another kind, or not for this machine or this request."""

    exit_code = 5


class BackendUnavailable(ModelRefused):
    """The runtime or device that a model needs is not here."""


class NonFinite(ModelRefused):
    """A network returned NaN or infinity: pixels that would be black or garbage."""


class OutOfMemory(GpsrError):
    """Memory ran out, also at the smallest tile that was tried."""

    exit_code = 6


class ParityFailed(GpsrError):
    """Two backends that must agree do not."""

    exit_code = 7


class BatchIncomplete(GpsrError):
    """Some files of several failed; the others are done."""

    exit_code = 8
