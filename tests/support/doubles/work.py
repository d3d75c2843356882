"""What lies in a GPU: memory, streams, and the work queued in them."""

from dataclasses import dataclass, field

import numpy as np

COPIES, COMPUTE = 0, 1
"""The streams of a backend, in the order in which it makes them."""

SCHEDULES = {"lazy": (), "copies first": (COPIES,), "compute first": (COMPUTE,), "eager": (COPIES, COMPUTE)}
"""Which streams run at once, by name."""

GUARD = 64
"""Bytes before and after pinned memory that nobody may write to."""


@dataclass
class Memory:
    """One allocation."""

    address: int
    content: np.ndarray
    guarded: np.ndarray | None = None
    """With the guards around it, for pinned memory."""


@dataclass
class Work:
    """Something queued in a stream: a copy, a kernel, a whole graph."""

    name: str
    run: object
    uses: tuple[int, ...]
    """Addresses of the memory that it reads or writes."""
    owner: object = None
    """The handle of the graph, or the context, that it comes from."""
    seen: dict = field(default_factory=dict)
    """The memory at those addresses when it was captured."""


@dataclass
class Point:
    """A record of an event: a place in a stream."""

    stream: "Queue"
    index: int
    time: float = 0.0

    @property
    def reached(self):
        return self.stream.done > self.index


@dataclass
class Queue:
    """One stream."""

    number: int
    device: int
    work: list = field(default_factory=list)
    done: int = 0
    capture: list | None = None
    spoiled: bool = False
