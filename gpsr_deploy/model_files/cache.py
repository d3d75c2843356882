"""Caches of compiled kernels and timings, kept between runs: a SHA-256, a line's end, then the library's own bytes."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from gpsr_deploy import atomic
from gpsr_deploy.errors import InputUnreadable, ModelRefused, OutputUnwritable
from gpsr_deploy.model_files import gate

MAX_BYTES = 1 << 30


def read(path: Path) -> bytes:
    """What `write` kept at `path`; nothing where there is no such file, or one that is damaged: a cache is made again."""
    with suppress(InputUnreadable, ModelRefused):
        digest, _, body = gate.read(path, most=MAX_BYTES).partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() == digest:
            return body
    return b""


def write(path: Path, body: bytes) -> None:
    """Keeps `body` at `path`, whole or not at all; where nothing can be written there is no cache, which is no failure."""
    with suppress(OutputUnwritable):
        atomic.write(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def may_replace(path: Path) -> bool:
    """Whether `write` would replace nothing at `path`, or what it once wrote there, damaged or not."""
    if not os.path.lexists(path):
        return True
    if not path.is_file():
        return False
    with suppress(OSError), path.open("rb") as file:
        return re.fullmatch(rb"[0-9a-f]{64}\n|", file.read(65)) is not None
    return False
