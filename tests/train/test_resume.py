"""A run killed anywhere and resumed gives the same bits as one that was not."""

import math
import os
import signal
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from project import ROOT
from training_runs import OPTIONS, Killed, counted, interrupt, killed_at, log, require_same, run, tensors

import state


def test_a_run_changes_the_weights_and_logs_what_it_did(uninterrupted):
    assert [line["step"] for line in log(uninterrupted)] == [3, 6]
    assert all(math.isfinite(line["loss"]) and line["val_psnr"] > 10 for line in log(uninterrupted))
    assert log(uninterrupted)[0] != log(uninterrupted)[1]
    found = tensors(uninterrupted)
    assert not torch.equal(found["network.tail.weight"], found["ema.tail.weight"])
    assert {key.partition(".")[0] for key in found} == {"network", "ema", "adam"}


def test_the_same_command_gives_the_same_bits(folder, uninterrupted, tmp_path):
    assert run(folder, tmp_path) == 0
    require_same(tmp_path, uninterrupted)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_run_killed_and_resumed_gives_the_same_bits(folder, uninterrupted, tmp_path, monkeypatch, step):
    killed_at(monkeypatch, step, interrupt)
    with pytest.raises(Killed):
        run(folder, tmp_path)
    steps = counted(monkeypatch)
    assert run(folder, tmp_path) == 0
    require_same(tmp_path, uninterrupted)
    assert len(steps) == (6 if step < 3 else 3)


KILLED = """
import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [sys.argv[1]]
import train
from gpsr_deploy import atomic


def die():
    os.kill(os.getpid(), signal.SIGKILL)


match sys.argv[2]:
    case "in a step":
        backward = train.torch.Tensor.backward
        calls = []
        train.torch.Tensor.backward = lambda loss: (calls.append(1), len(calls) == 5 and die(), backward(loss))
    case "before the checkpoint has its name":
        publish = atomic.publish
        atomic.publish = lambda *names, **options: (
            names[1].name == "last.next.safetensors" and (names[1].parent / "last.safetensors").exists() and die(),
            publish(*names, **options),
        )
    case "between two renames":
        replace = Path.replace
        Path.replace = lambda path, target: (
            path.stem == "last.next" and (path.parent / "last.before.safetensors").exists() and die(),
            replace(path, target),
        )
train.main(sys.argv[3:])
"""


@pytest.mark.parametrize("where", ["in a step", "before the checkpoint has its name", "between two renames"])
def test_a_process_killed_with_sigkill_and_resumed_gives_the_same_bits(
    folder, uninterrupted, tmp_path, monkeypatch, where
):
    command = [sys.executable, "-c", KILLED, str(ROOT / "train"), where, "--data", str(folder), "--out", str(tmp_path)]
    ended = subprocess.run([*command, *OPTIONS.split()], capture_output=True, check=False, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    steps = counted(monkeypatch)
    assert run(folder, tmp_path) == 0
    require_same(tmp_path, uninterrupted)
    assert len(steps) == 3
    assert not [path for path in tmp_path.rglob(".*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize("name", ["best.safetensors", "last.next.safetensors"])
def test_a_run_killed_while_it_writes_and_resumed_gives_the_same_bits(
    folder, uninterrupted, tmp_path, monkeypatch, name
):
    write = state.atomic.write
    monkeypatch.setattr(
        state.atomic,
        "write",
        lambda path, content: interrupt() if path.name == name else write(path, content),
    )
    with pytest.raises(Killed):
        run(folder, tmp_path)
    monkeypatch.undo()
    assert run(folder, tmp_path) == 0
    require_same(tmp_path, uninterrupted)


def test_sigterm_leaves_a_checkpoint_from_which_it_goes_on(folder, uninterrupted, tmp_path, monkeypatch):
    killed_at(monkeypatch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as caught:
        run(folder, tmp_path)
    assert caught.value.code == 143
    with safetensors.safe_open(str(tmp_path / "last.safetensors"), framework="pt") as file:
        assert int(file.metadata()["step"]) >= 4
    steps = counted(monkeypatch)
    assert run(folder, tmp_path) == 0
    require_same(tmp_path, uninterrupted)
    assert len(steps) <= 2


def test_a_finished_run_is_left_as_it_is(folder, uninterrupted, monkeypatch):
    before = {path: path.read_bytes() for path in uninterrupted.iterdir() if path.is_file()}
    steps = counted(monkeypatch)
    assert run(folder, uninterrupted) == 0
    assert not steps
    assert {path: path.read_bytes() for path in uninterrupted.iterdir() if path.is_file()} == before
