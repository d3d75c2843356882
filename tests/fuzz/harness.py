"""What every target shares: imports that atheris watches, and the loop. Without atheris a target is only a function."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

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


def run(target: Callable[[bytes], None]) -> None:
    """Calls `target` with one input after another, as the command line says: libFuzzer's options and corpus folders.

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

    atheris.Setup(sys.argv, keeping)
    atheris.Fuzz()
