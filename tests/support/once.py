"""Folders that are made once in a run, however many processes share it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of this run, which `make` fills: in the process that comes first, while the others wait."""
    base = factory.getbasetemp()
    run = (
        base.parent if base.name.startswith("popen-") else base
    )  # pytest-xdist's processes have folders of their own within it
    folder, done = run / name, run / f"{name}.done"
    with FileLock(run / f"{name}.lock"):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
