"""What this machine has to offer: cores and memory. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path


def cores() -> int:
    """CPU cores that this process may use, where the system tells; else all that there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_flags() -> frozenset[str]:
    """What the processor can do, in the words of Linux (`avx512_vnni`); empty where the system does not tell."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return frozenset(next(line for line in file if line.startswith("flags")).partition(":")[2].split())
    except (OSError, StopIteration, UnicodeDecodeError):
        return frozenset()


def available_memory() -> int | None:
    """Bytes that this process may still take without swapping, or None where the system does not tell."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        try:
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError):
            return None
