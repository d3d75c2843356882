"""How long a process takes by itself: as on a machine with nothing else to do, measured on one that is busy. Linux only."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
CORES = len(os.sched_getaffinity(0))
STEP = 0.01
"""Seconds between two looks."""


class OwnTime:
    """Within: watches a process that this one started. `seconds` is what it took until it ended, or until then.

    That is its CPU time, over the threads that could run at once, and the time in which all of its threads slept. It is not
    the time in which it would have run and another process did, nor that in which it waited for a disk.
    """

    def __init__(self, pid: int) -> None:
        self.seconds = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        before, used = time.monotonic(), cpu(self._pid)
        while (states := states_of(self._pid)) and not self._over.wait(STEP):
            now, now_used = time.monotonic(), cpu(self._pid)
            if now_used > used:
                self.seconds += (now_used - used) / max(1, min(states.count("R"), CORES))
                used = now_used
            elif not set(states) - {"S", "T"}:
                self.seconds += now - before
            before = now

    def __enter__(self) -> OwnTime:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()


def cpu(pid: int) -> float:
    """Seconds of CPU time that a process has used; 0 where it has ended."""
    fields = read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS if len(fields) > 12 else 0.0


def states_of(pid: int) -> list[str]:
    """Letters of what its threads are doing, as in proc(5); none where it has ended."""
    said = [read(path).rpartition(")")[2].split() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return [fields[0] for fields in said if fields and fields[0] not in "ZX"]


def read(path: Path) -> str:
    """A file of /proc; nothing where the process has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""
