"""Runs of train.py on tiny pictures: made, ended where a test wants it, counted and compared."""

import json

import safetensors.torch
import torch

import train
from gpsr_deploy.model_files import checkpoint as checkpoint_file

OPTIONS = "--model nano --scale 4 --steps 6 --every 3 --batch 2 --patch 6 --warmup 2 --threads 1 --device cpu"


def run(folder, out, *options):
    """Six steps of `nano` x4 on tiny patches, with a checkpoint every three."""
    return train.main(["--data", str(folder), "--out", str(out), *OPTIONS.split(), *options])


def trained(folder, out, *options):
    """The best network of a run, and its description."""
    assert run(folder, out, *options) == 0
    return checkpoint_file.load(out / "best.safetensors")


def tensors(out):
    """Weights, EMA and optimiser at the end of a run."""
    return safetensors.torch.load_file(out / "last.safetensors")


def log(out):
    """The lines of the log, but for the time, which differs from run to run."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "minutes"} for line in lines]


def killed_at(monkeypatch, step, action):
    """Makes the training step after `step` do `action` first, once."""
    train_step, done = train.train_step, []

    def act(run, *batch, **options):
        if run.step == step and not done:
            done.append(True)
            action()
        return train_step(run, *batch, **options)

    monkeypatch.setattr(train, "train_step", act)


class Killed(BaseException):
    """Ends a run where it stands, as kill -9 would: nothing of the run catches it."""


def interrupt():
    raise Killed


def counted(monkeypatch):
    """A list that grows by one with every step made from now on: a run that begins anew ends with the same bits, too."""
    train_step, steps = train.train_step, []

    def count(*batch, **options):
        steps.append(1)
        return train_step(*batch, **options)

    monkeypatch.setattr(train, "train_step", count)
    return steps


def forget_number(name, value):
    """Puts a number of a run back to where it starts."""
    return lambda run: setattr(run, name, value)


def require_same(out, uninterrupted):
    """The same bits at the end and at the best, and the same log."""
    found, wanted = tensors(out), tensors(uninterrupted)
    assert list(found) == list(wanted)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    best = [safetensors.torch.load_file(folder / "best.safetensors") for folder in (out, uninterrupted)]
    assert all(torch.equal(best[0][key], best[1][key]) for key in best[1])
    assert log(out) == log(uninterrupted)
