"""Each part of a run's state matters: a resume that forgets one is caught by the comparison of bits."""

import math
import os
import signal

import pytest
from training_runs import forget_number, killed_at, require_same, run

import state
import train


def forget_tensors(prefix):
    def forget(run):
        fresh = state.Run(run.recipe, run.device)
        getattr(run, prefix).load_state_dict(getattr(fresh, prefix).state_dict())

    return forget


def forget_moment(name):
    def forget(run):
        for moments in run.optimiser.state.values():
            moments[name].zero_()

    return forget


FORGOTTEN = {
    "network": forget_tensors("network"),
    "ema": forget_tensors("ema"),
    "optimiser": lambda run: run.optimiser.state.clear(),
    "first moment": forget_moment("exp_avg"),
    "second moment": forget_moment("exp_avg_sq"),
    "optimiser's step": forget_moment("step"),
    "step": forget_number("step", 0),
    "losses since the last line": lambda run: run.losses.clear(),
    "best PSNR": forget_number("best_psnr", -math.inf),
}


def interrupted_and_resumed(folder, out, monkeypatch, forget):
    """A run with PSNRs of 30 and 20 dB, ended by SIGTERM after 5 steps; `forget` spoils what the resume took up."""
    values = iter([30.0, 20.0])
    monkeypatch.setattr(train, "validate", lambda *_: next(values))
    killed_at(monkeypatch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        run(folder, out)
    resume = state.Run.resume
    monkeypatch.setattr(state.Run, "resume", lambda run, path: (resume(run, path), forget(run)))
    try:
        run(folder, out)
    except StopIteration:  # more validations than an uninterrupted run makes
        return


@pytest.fixture(scope="module")
def falling(folder, tmp_path_factory):
    """The uninterrupted run with the same PSNRs."""
    out = tmp_path_factory.mktemp("falling")
    with pytest.MonkeyPatch.context() as patch:
        values = iter([30.0, 20.0])
        patch.setattr(train, "validate", lambda *_: next(values))
        run(folder, out)
    return out


def test_a_resume_that_forgets_nothing_passes_the_comparison_with_mutants(folder, falling, tmp_path, monkeypatch):
    interrupted_and_resumed(folder, tmp_path, monkeypatch, lambda run: None)
    require_same(tmp_path, falling)


@pytest.mark.parametrize("part", FORGOTTEN)
def test_a_resume_that_forgets_one_part_is_caught(folder, falling, tmp_path, monkeypatch, part):
    interrupted_and_resumed(folder, tmp_path, monkeypatch, FORGOTTEN[part])
    with pytest.raises(AssertionError):
        require_same(tmp_path, falling)
