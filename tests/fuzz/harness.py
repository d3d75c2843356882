"""What every target shares: imports that atheris watches, and the loop. Without atheris a target is only a function."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import math
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

FUZZING = Path(sys.argv[0]).name.startswith("fuzz_")
"""Whether a target is run as a program, not imported by a test."""

if FUZZING:
    try:
        import atheris
    except ImportError:
        sys.exit(
            "found no atheris, which is for CPython 3.11 to 3.13 on Linux x86_64. Try: pip install -e '.[dev]' there"
        )


def watched() -> AbstractContextManager[object]:
    """Within: imports whose branches atheris sees, so that it can look for inputs that take others."""
    return atheris.instrument_imports(include=["gpsr_deploy"]) if FUZZING else contextlib.nullcontext()


def folder() -> tempfile.TemporaryDirectory[str]:
    """For targets that read files: in memory, where the system has such a place, since they are written thousands of times."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None)


VALUES = (None, True, False, 0, 1, -1, 2**31, 10**400, 0.5, 1e400, math.nan, "", "x", "\x1b[2J", "../x", "$(x)", "\ud800", "9" * 70, [], {}, [1, 1], {"a": 1})  # fmt: skip
"""What a reader of JSON may not expect where it stands."""


def mutated_json(data: bytes, most: int, seed: int) -> bytes:
    """JSON with another value, or a key less, somewhere within; now and then other bytes, as for what is no JSON."""
    chance = random.Random(seed)
    try:
        found = json.loads(data)
        if chance.random() < 0.3:
            raise ValueError
    except (ValueError, RecursionError):
        return bytes(atheris.Mutate(data, most))
    places = list(containers(found))
    if not places:
        return json.dumps(chance.choice(VALUES)).encode()[:most]
    inner = chance.choice(places)
    key = chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
    if chance.random() < 0.1:
        del inner[key]
    else:
        value = chance.choice((*VALUES, *(value for other in places for value in values(other))))
        inner[key] = copy.deepcopy(value)  # which may hold `inner`
    return json.dumps(found).encode()[:most]


def values(inner: Any) -> list[Any]:
    """Those of an object or a list."""
    return list(inner.values() if isinstance(inner, dict) else inner)


def containers(found: Any) -> Iterator[Any]:
    """Every object and list within that holds something, from outside."""
    if isinstance(found, dict | list) and found:
        yield found
        for value in values(found):
            yield from containers(value)


def run(target: Callable[[bytes], None], *, mutator: Callable[[bytes, int, int], bytes] | None = None) -> None:
    """Calls `target` with one input after another, as the command line says: libFuzzer's options and corpus folders.

    `mutator` makes inputs of others, (bytes, most bytes, seed) -> bytes; libFuzzer's own by default.

    An input that ends in an exception is kept under `-artifact_prefix` at once: what libFuzzer does at its end is now and
    then cut short by its own alarm.
    """
    prefix = next((word.partition("=")[2] for word in sys.argv if word.startswith("-artifact_prefix=")), "")

    def keeping(data: bytes) -> None:
        try:
            target(data)
        except BaseException:
            Path(f"{prefix}found-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
            raise

    atheris.Setup(sys.argv, keeping, **({"custom_mutator": mutator} if mutator else {}))
    atheris.Fuzz()
