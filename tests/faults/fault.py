"""What a fault is: files and circumstances, a command, and what must be true once that has ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

Content = bytes | Callable[[], bytes]
"""Of a file; a function where making it costs something."""

Check = Callable[[bytes], None]
"""Asserts what the content of a file must be."""

ABSENT = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One that is sent while the command runs."""

    number: signal.Signals
    when: Callable[[int, Path], bool]
    """Whether it is time: asked again and again with the process's id and the fault's folder."""
    again: float | None = None
    """Seconds after which it is sent once more."""
    within: float = 3.5
    """Seconds that the command may take after it, by itself: two, and some for what watches them to be exact enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a process finds around it."""

    limits: Mapping[str, int] = field(default_factory=dict)
    """As prlimit names them: `as` and `fsize` in bytes, `nofile`."""
    closed: Sequence[int] = ()
    """Of the descriptors 0, 1 and 2."""
    stdout: str | None = None
    """A file that stdout goes to; by default it is kept."""
    terminal: bool = False
    """Whether stderr is a terminal, where progress bars are drawn."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Changes; None: not set."""
    unprivileged: bool = False
    """Whether permissions hold for it, though the tests may run as root."""
    disks: Mapping[str, str] = field(default_factory=dict)
    """Folders that are small file systems of their own: options of `mount -t tmpfs`, for instance `size=64k`. Needs root."""
    frozen: Sequence[str] = ()
    """Those of `disks` that can only be read once all files are made."""
    prelude: str = ""
    """Python that runs in the process before the command."""


PLAIN = Circumstances()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One case. Files are named relative to a fresh folder, which the command runs in."""

    id: str
    clause: str
    """What it is a case of: one of clauses.CLAUSES."""
    command: Sequence[str]
    """Arguments of `program`."""
    code: int
    """Exit code; -N for a death by the signal N that was sent."""
    says: str = ""
    """Part of what is said on stderr; with an error that is its only line."""
    files: Mapping[str, Content] = field(default_factory=dict)
    arrange: Callable[[Path], None] | None = None
    """Makes, in the folder, what is more than files with content."""
    leaves: Mapping[str, Check | None] = field(default_factory=dict)
    """What is new, different or ABSENT afterwards. Everything else is as it was, and nothing else is there."""
    others_in: str = ""
    """A folder in which there may be other files, of which nobody knows how many."""
    prints: str = ""
    """Part of what is printed on stdout, where nothing is printed otherwise, but where `code` is 0."""
    program: str = "gpsr_deploy"
    """Or a file of this project, like train/train.py."""
    around: Circumstances = PLAIN
    signal: Signal | None = None
    within: float = 60.0
    """Seconds that all of it may take on a busy machine."""
    after: Callable[[Path], None] | None = None
    """Asserts more about the folder afterwards."""
    bug: str = ""
    """Why it fails today: a fault of ours that is known."""
    slow: bool = False


def picture(
    height: int,
    width: int,
    *,
    channels: int = 3,
    depth: int = 8,
    colour: tuple[int, ...] | None = None,
    off: float = 4.0,
) -> Check:
    """A file that OpenCV decodes to just this; `colour`, RGB or grey with alpha if any, is the mean of its pixels, give or take."""

    def check(content: bytes) -> None:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert found is not None, "it does not decode"
        pixels = found.reshape(*found.shape[:2], -1)
        assert (pixels.shape, pixels.dtype.itemsize * 8) == ((height, width, channels), depth)
        if colour is not None:
            mean = pixels.mean(axis=(0, 1))
            mean = mean[[2, 1, 0, *range(3, channels)]] if channels > 2 else mean
            assert np.abs(mean - colour).max() <= off * (257 if depth == 16 else 1), f"the mean colour is {mean}"

    return check


def holding(*parts: bytes) -> Check:
    """A file that holds each of `parts`."""

    def check(content: bytes) -> None:
        for part in parts:
            assert part in content, part[:40]

    return check


def anything(content: bytes) -> None:
    """A file that holds something."""
    assert content
