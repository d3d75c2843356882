"""When to send a signal: conditions on a process that is watched from outside, through /proc and its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from own_time import cpu, read

Moment = Callable[[int, Path], bool]


def loading(library: str) -> Moment:
    """As soon as a library whose path holds this word is mapped: its import goes on for a while."""

    def now(pid: int, _folder: Path) -> bool:
        return library in read(Path(f"/proc/{pid}/maps"))

    return now


def busy(seconds: float) -> Moment:
    """Once so much CPU time was used that it must be inside the network, and not on the way to it."""

    def now(pid: int, _folder: Path) -> bool:
        return cpu(pid) > seconds

    return now


def reading(name: str, seconds: float = 0.5) -> Moment:
    """While a file is open that was open so much CPU time ago as well: it is being decoded."""
    since: list[float] = []

    def now(pid: int, folder: Path) -> bool:
        if folder / name not in opened(pid):
            since.clear()
            return False
        since.append(cpu(pid))
        return since[-1] - since[0] > seconds

    return now


def writing(pattern: str, least: int = 1) -> Moment:
    """As soon as a file of this pattern holds so many bytes."""

    def now(_pid: int, folder: Path) -> bool:
        return any(size(path) >= least for path in folder.glob(pattern))

    return now


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
