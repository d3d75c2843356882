"""The seeds of every fuzzing target, and what once was found, through the target: without atheris, in every run of the tests."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the targets are programs, and import what they share by bare name

TARGETS = {path.stem.removeprefix("fuzz_"): path for path in sorted(HERE.glob("fuzz_*.py"))}


@pytest.mark.parametrize("name", list(TARGETS))
def test_every_seed_is_a_value_or_a_refusal(name: str):
    module = importlib.import_module(f"fuzz_{name}")
    seeds = sorted((HERE / "corpus" / name).iterdir())
    assert len(seeds) >= 4
    for seed in seeds:
        module.target(seed.read_bytes())


@pytest.mark.parametrize("name", list(TARGETS))
def test_every_seed_cut_and_flipped_is_a_value_or_a_refusal(name: str):
    module = importlib.import_module(f"fuzz_{name}")
    for seed in sorted((HERE / "corpus" / name).iterdir()):
        content = seed.read_bytes()[:1500]
        for at in range(0, len(content), max(1, len(content) // 100)):
            module.target(content[:at])
            module.target(content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :])


def test_seeds_are_small():
    """They are in the repository for ever."""
    assert all(path.stat().st_size <= 4096 for path in (HERE / "corpus").rglob("*") if path.is_file())
