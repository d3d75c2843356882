"""SIGKILL at any moment: no file under a final name is half, earlier files are as they were, and a later run cleans up."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors

from faults import made, training
from faults.fault import PLAIN
from faults.running import ROOT, environment_of
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.pictures import journal

OLD = made.later(made.photo_file, "PNG", 7, 7)

SHORT_EXPORT = f"""
import sys
sys.path.insert(0, {str(ROOT / "export")!r})
import to_onnx
from gpsr_deploy.proof import parity
from gpsr_deploy.cli import program
every = parity.photographs
parity.photographs = lambda size: every(size)[:1]
to_onnx.TILES_PER_SIDE = 1
program.run(to_onnx.main)
"""
"""The export, but for the photographs that parity and halo are measured on: one, and a small one, where it would take minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A command that is killed again and again."""

    command: Sequence[str]
    prepare: Callable[[Path], None]
    """Fills an empty folder."""
    require_whole: Callable[[Path], None]
    """Asserts that every file under a final name is whole, or as `prepare` made it."""
    require_done: Callable[[Path], None]
    """Asserts that the command has done its work."""
    kept: int = 1
    """Kills in a row in one folder, each of a command that goes on where the last one died."""


def killed(victim: Victim, root: Path, *, kills: int) -> None:
    """Kills the command `kills` times, at random moments spread evenly over its duration, then lets it end."""
    random_ = random.Random(" ".join(victim.command))
    folder = fresh(victim, root, "whole")
    begin = time.monotonic()
    subprocess.run(victim.command, cwd=folder, env=environment_of(PLAIN), check=True, capture_output=True)
    duration = time.monotonic() - begin
    victim.require_done(folder)
    order = list(range(kills))
    random_.shuffle(order)
    for number, part in enumerate(order):
        if number % victim.kept == 0:
            folder = fresh(victim, root, str(number))
        moment = duration * (part + random_.random()) / kills
        while not died(victim, folder, moment):
            moment *= 0.9  # the machine was less busy than before, and the command ended first
        victim.require_whole(folder)
    ended = subprocess.run(
        victim.command, cwd=folder, env=environment_of(PLAIN), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    victim.require_done(folder)
    assert not [path for path in folder.rglob(".*") if path.name.endswith(".tmp")]


def died(victim: Victim, folder: Path, moment: float) -> bool:
    """Whether the command, killed after so many seconds, had not ended by itself."""
    process = subprocess.Popen(
        victim.command, cwd=folder, env=environment_of(PLAIN), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        process.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        process.kill()
    _, stderr = process.communicate()
    assert process.returncode in (0, -9), stderr
    return process.returncode == -9


def fresh(victim: Victim, root: Path, name: str) -> Path:
    """A new folder with what the command needs."""
    folder = root / name
    folder.mkdir()
    victim.prepare(folder)
    return folder


def visible(folder: Path) -> list[Path]:
    """All files under final names."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".tmp")]


def size_of(path: Path) -> tuple[int, ...]:
    """Height, width and channels of a picture that decodes; libpng says on stderr what is missing."""
    found = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None, path
    return found.shape


# infer, one file over an old one


def one_prepared(folder: Path) -> None:
    """A picture, and an old result."""
    (folder / "p.png").write_bytes(made.photo_file("PNG", 120, 150))
    (folder / "o.png").write_bytes(OLD())


def one_whole(folder: Path) -> None:
    """The old result or the new one, to the last byte."""
    assert (folder / "o.png").read_bytes() == OLD() or require_png(folder / "o.png", (480, 600, 3))


def require_png(path: Path, size: tuple[int, ...]) -> bool:
    """Whether the PNG has this size and its end."""
    return size_of(path) == size and path.read_bytes().endswith(made.png_chunk(b"IEND", b""))


def one_done(folder: Path) -> None:
    """The new result."""
    assert require_png(folder / "o.png", (480, 600, 3))
    assert sorted(path.name for path in visible(folder)) == ["o.png", "p.png"]


# infer, a folder


NAMES = [f"{index}.png" for index in range(6)]


def folder_prepared(folder: Path) -> None:
    """Pictures, and results for some of them."""
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    for index, name in enumerate(NAMES):
        (folder / "in" / name).write_bytes(made.photo_file("PNG", 60, 60 + 3 * index))
    (folder / "out" / NAMES[0]).write_bytes(OLD())


def folder_whole(folder: Path) -> None:
    """What is there is whole, and the inputs are what they were."""
    for index, name in enumerate(NAMES):
        assert (folder / "in" / name).read_bytes() == made.photo_file("PNG", 60, 60 + 3 * index)
        path = folder / "out" / name
        if path.exists() and not (index == 0 and path.read_bytes() == OLD()):
            assert require_png(path, (240, 240 + 12 * index, 3))
    assert {path.name for path in visible(folder)} <= {*NAMES, journal.NAME}


def folder_done(folder: Path) -> None:
    """All of them."""
    folder_whole(folder)
    assert not (folder / "out" / journal.NAME).exists()
    assert all(size_of(folder / "out" / name)[0] == 240 for name in NAMES)


# export


def export_prepared(folder: Path) -> None:
    """Weights, and an older export."""
    (folder / "m.safetensors").write_bytes(made.checkpoint())
    (folder / "x.onnx").write_bytes(b"old")


def export_whole(folder: Path) -> None:
    """The older export, or one that is what it was when it was written."""
    content = (folder / "x.onnx").read_bytes()
    assert content == b"old" or onnx_file.read(folder / "x.onnx").spec.scale == 4
    assert (folder / "m.safetensors").read_bytes() == made.checkpoint()


def export_done(folder: Path) -> None:
    """A model."""
    assert onnx_file.read(folder / "x.onnx").spec.scale == 4
    assert sorted(path.name for path in visible(folder)) == ["m.safetensors", "x.onnx"]


# training


def training_prepared(folder: Path) -> None:
    """Pictures."""
    for name, content in training.pictures().items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content() if callable(content) else content)


def training_whole(folder: Path) -> None:
    """Every checkpoint, sheet and description that has its final name; the last line of the log may be cut, and is dropped later."""
    import state

    run = folder / "run"
    for path in visible(run) if run.exists() else ():
        match path.suffix:
            case ".safetensors" if path.name == "best.safetensors":
                checkpoint_file.load(path)
            case ".safetensors":
                with safetensors.safe_open(str(path), framework="pt") as file:
                    found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
                    assert state.checksum(found, file.metadata()) == file.metadata()["sha256"]
            case ".png":
                size_of(path)
            case ".json":
                json.loads(path.read_text())
            case ".jsonl":
                for line in path.read_text().split("\n")[:-1]:
                    json.loads(line)
            case _:
                pytest.fail(f"nobody asked for {path}")


def training_done(folder: Path) -> None:
    """The last step."""
    training_whole(folder)
    steps = [json.loads(line)["step"] for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(2, 41, 2))


GPSR = [sys.executable, "-m", "gpsr_deploy", "infer"]

VICTIMS = {
    "infer": Victim(command=[*GPSR, "p.png", "-o", "o.png", "--overwrite", "-q"], prepare=one_prepared, require_whole=one_whole, require_done=one_done, kept=3),
    "infer a folder": Victim(command=[*GPSR, "in", "-o", "out", "--overwrite", "-q"], prepare=folder_prepared, require_whole=folder_whole, require_done=folder_done, kept=3),
    "export": Victim(command=[sys.executable, "-c", SHORT_EXPORT, "--checkpoint", "m.safetensors", "-o", "x.onnx"], prepare=export_prepared, require_whole=export_whole, require_done=export_done, kept=5),
    "training": Victim(
        command=[sys.executable, str(ROOT / training.TRAIN), *training.SHORT, "--steps", "40", "--every", "2"], prepare=training_prepared, require_whole=training_whole, require_done=training_done, kept=3,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        ("infer", 3),
        ("infer a folder", 3),
        pytest.param("infer", 13, marks=pytest.mark.slow),
        pytest.param("infer a folder", 12, marks=pytest.mark.slow),
        pytest.param("export", 10, marks=pytest.mark.slow),
        pytest.param("training", 15, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment_no_file_is_half_and_a_later_run_cleans_up(tmp_path: Path, name: str, kills: int):
    killed(VICTIMS[name], tmp_path, kills=kills)
