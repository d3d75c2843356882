"""Several processes train what one trains, and agree on what is skipped and where they begin."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from project import ROOT
from training_runs import OPTIONS, log, run, tensors

import train
from gpsr_deploy.errors import UsageError

IN_FLOAT64 = """
import sys
import torch
torch.set_default_dtype(torch.float64)
sys.path[:0] = [sys.argv[1]]
import train
sys.exit(train.main(sys.argv[2:]))
"""


def test_two_processes_train_what_one_trains(folder, tmp_path):
    """torchrun with gloo: the same global batch gives the same weights, in float64 far within 1e-6.

    In float32 the gradient of a bias behind an L1, a sum of signs, can be zero but for rounding, and Adam makes a step of
    whatever is not zero: no bound would mean anything there.
    """
    options = [*OPTIONS.split(), "--data", str(folder), "--batch", "4"]
    driver = tmp_path / "driver.py"
    driver.write_text(IN_FLOAT64)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    said = []
    for launcher, out in (([sys.executable], "one"), (torchrun, "two")):
        command = [*launcher, str(driver), str(ROOT / "train"), *options, "--out", str(tmp_path / out)]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
        assert ended.returncode == 0, ended.stderr
        said.append(ended.stdout)
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert list(one) == list(two)
    for key in one:
        assert one[key].dtype == torch.float64 or key.endswith("step")
        assert (one[key] - two[key]).abs().max() <= 1e-9, key
    assert (one["network.tail.weight"] - one["ema.tail.weight"]).abs().max() > 1e-5  # it did train
    assert [text.count('"step": ') for text in said] == [2, 2]  # one process speaks
    for before, after in zip(log(tmp_path / "one"), log(tmp_path / "two"), strict=True):
        assert before["step"] == after["step"]
        assert before["loss"] == pytest.approx(after["loss"], abs=2e-6)  # which is rounded to 1e-6


AS_RANKS_SEE_IT = """
import math
import os
import sys

sys.path[:0] = [sys.argv[1]]
import train

alone = os.environ["RANK"] == "1"
match sys.argv[2]:
    case "one loss is not finite":
        loss, calls = train.gpsr_loss, []
        train.gpsr_loss = lambda *a, **k: (calls.append(1), loss(*a, **k) * (math.nan if alone and len(calls) == 2 else 1))[1]
    case "one finds no checkpoint":
        sys.argv[-1] += "-elsewhere" * alone
from gpsr_deploy.cli import program

sys.argv[1:] = sys.argv[3:]
program.run(train.main)
"""


def two_processes(tmp_path, folder, case, out, *options):
    driver = tmp_path / "driver.py"
    driver.write_text(AS_RANKS_SEE_IT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(driver), str(ROOT / "train"), case, *OPTIONS.split(), "--data", str(folder), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, env=environment, check=False, timeout=300
    )


def test_a_loss_that_is_not_finite_in_one_process_is_skipped_in_all(folder, tmp_path):
    """Without heads that a loss reads, too: DistributedDataParallel must not wait for their gradients."""
    ended = two_processes(tmp_path, folder, "one loss is not finite", tmp_path / "out", "--alpha", "0")
    assert ended.returncode == 0, ended.stderr
    assert "find_unused_parameters" not in ended.stderr
    assert [line["skipped"] for line in log(tmp_path / "out")] == [1, 0]
    assert all(torch.isfinite(value).all() for value in tensors(tmp_path / "out").values())


def test_processes_that_do_not_see_the_same_checkpoint_are_refused(folder, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path / "out")
    before = (tmp_path / "out" / "last.safetensors").read_bytes()
    ended = two_processes(tmp_path, folder, "one finds no checkpoint", tmp_path / "out", "--steps", "9")
    assert ended.returncode != 0
    assert "different checkpoints or pictures" in ended.stderr
    assert (tmp_path / "out" / "last.safetensors").read_bytes() == before


def test_a_batch_that_the_processes_cannot_share_is_a_usage_error(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "join", lambda device: (train.Processes(rank=0, size=3), device))
    monkeypatch.setattr(train.Processes, "close", lambda self: None)
    with pytest.raises(UsageError, match="--batch 2"):
        run(folder, tmp_path)
