"""Photographs that ship with the package: for the demo, for checks of an exported model, for tests. See LICENCES.md."""

from __future__ import annotations

from pathlib import Path


def photographs() -> list[Path]:
    """The files, in the order of their names."""
    return sorted(Path(__file__).parent.glob("*.png"))
