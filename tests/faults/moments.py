"""When to send a signal: conditions on a process that is watched from outside, through /proc and its files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

Moment = Callable[[int, Path], bool]

TICKS = os.sysconf("SC_CLK_TCK")


def loading(library: str) -> Moment:
    """As soon as a library whose path holds this word is mapped: its import goes on for a while."""

    def now(pid: int, _folder: Path) -> bool:
        return library in read(pid, "maps")

    return now


def busy(seconds: float) -> Moment:
    """Once so much CPU time was used that it must be inside the network, and not on the way to it."""

    def now(pid: int, _folder: Path) -> bool:
        fields = read(pid, "stat").rpartition(")")[2].split()
        return len(fields) > 12 and (int(fields[11]) + int(fields[12])) / TICKS > seconds

    return now


def reading(name: str, seconds: float = 0.5) -> Moment:
    """While a file is open that was open so much CPU time ago as well: it is being decoded."""
    since: list[float] = []

    def now(pid: int, folder: Path) -> bool:
        fields = read(pid, "stat").rpartition(")")[2].split()
        if len(fields) < 13 or folder / name not in opened(pid):
            since.clear()
            return False
        used = (int(fields[11]) + int(fields[12])) / TICKS
        since.append(used)
        return used - since[0] > seconds

    return now


def writing(pattern: str, least: int = 1) -> Moment:
    """As soon as a file of this pattern holds so many bytes."""

    def now(_pid: int, folder: Path) -> bool:
        return any(size(path) >= least for path in folder.glob(pattern))

    return now


def read(pid: int, name: str) -> str:
    """A file of /proc about the process; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def opened(pid: int) -> set[Path]:
    """The files that it has open."""
    found = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            found.add(link.readlink())
    except OSError:  # one of them is closed by now, or the process has ended
        return found
    return found


def size(path: Path) -> int:
    """Bytes; 0 for a file that has gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
