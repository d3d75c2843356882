"""Losses that are not finite: skipped, counted, never in the log, and too many of them end the run."""

import json
import math
import os
import signal

import pytest
import safetensors.torch
import torch
from training_runs import killed_at, log, run, tensors

import train
from gpsr_deploy.errors import GpsrError


def spoiled_loss(monkeypatch, spoils):
    loss, calls = train.gpsr_loss, []

    def spoil(*arguments, **options):
        calls.append(True)
        return loss(*arguments, **options) * (math.nan if spoils(len(calls)) else 1)

    monkeypatch.setattr(train, "gpsr_loss", spoil)


def test_a_step_whose_loss_is_not_finite_is_skipped_and_counted(folder, tmp_path, monkeypatch):
    spoiled_loss(monkeypatch, lambda call: call == 2)
    assert run(folder, tmp_path) == 0
    assert all(torch.isfinite(value).all() for value in tensors(tmp_path).values())
    assert [line["skipped"] for line in log(tmp_path)] == [1, 0]
    assert all(math.isfinite(line["loss"]) for line in log(tmp_path))


def test_the_log_is_json_also_where_nothing_is_finite(folder, tmp_path, monkeypatch):
    spoiled_loss(monkeypatch, lambda call: True)
    monkeypatch.setattr(train, "validate", lambda *_: -math.inf)
    assert run(folder, tmp_path) == 0
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    found = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [(line["loss"], line["val_psnr"], line["skipped"]) for line in found] == [(None, None, 3)] * 2
    assert not (tmp_path / "best.safetensors").exists()


def test_skipped_steps_in_a_row_are_counted_across_a_restart(folder, tmp_path, monkeypatch):
    """7 before the restart and 4 after it are 11, one too many."""
    spoiled_loss(monkeypatch, lambda call: True)
    long = ["--steps", "100", "--every", "100"]
    killed_at(monkeypatch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        run(folder, tmp_path, *long)
    with safetensors.safe_open(str(tmp_path / "last.safetensors"), framework="pt") as file:
        assert file.metadata()["skipped"] == "7"
    steps = []
    train_step = train.train_step
    monkeypatch.setattr(train, "train_step", lambda *a, **k: (steps.append(1), train_step(*a, **k))[1])
    with pytest.raises(GpsrError):
        run(folder, tmp_path, *long)
    assert len(steps) == 4


def test_a_loss_that_stays_not_finite_stops_the_run(folder, tmp_path, monkeypatch):
    spoiled_loss(monkeypatch, lambda call: True)
    with pytest.raises(GpsrError):
        run(folder, tmp_path, "--steps", "100", "--every", "100", "--batch", "1", "--patch", "3")
