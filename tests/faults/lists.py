"""All faults, in the order of their classes; of each clause the first few run by default, the others with `make faults`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from faults import bombs, engines, models, names, paths, pictures, process, signals, training, video
from faults.fault import Fault

BY_DEFAULT = 3
"""Faults of a clause that every run of the tests provokes: a process each, which takes half a second to start."""


def with_the_rest_slow(faults: list[Fault]) -> list[Fault]:
    """The same, of which those beyond BY_DEFAULT of a clause are slow."""
    seen: Counter[str] = Counter()
    found = []
    for fault in faults:
        seen[fault.clause] += not fault.slow
        found.append(replace(fault, slow=fault.slow or seen[fault.clause] > BY_DEFAULT))
    return found


FAULTS = with_the_rest_slow(
    [
        *pictures.FAULTS,
        *bombs.FAULTS,
        *paths.FAULTS,
        *names.FAULTS,
        *process.FAULTS,
        *models.FAULTS,
        *engines.FAULTS,
        *signals.FAULTS,
        *training.FAULTS,
        *video.FAULTS,
    ]
)
