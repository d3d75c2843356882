"""The command line of train.py: its help, and what makes no sense is refused before anything is written."""

import pytest
import torch
from training_runs import run

import options as command_line
from gpsr_deploy.errors import BackendUnavailable, GpsrError, UsageError


@pytest.mark.parametrize(
    "options",
    [
        ["--patch", "10"], ["--ema", "1"], ["--alpha", "-1"], ["--alpha", "nan"], ["--learning-rate", "inf"],
        ["--seed", "-1"], ["--seed", str(1 << 64)], ["--minutes", "1"], ["--device", "abacus"],
    ],
    ids="=".join,
)  # fmt: skip
def test_what_makes_no_sense_is_a_usage_error(folder, tmp_path, options):
    with pytest.raises(UsageError):
        run(folder, tmp_path, *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--batch", "--patch", "--warmup", "--every", "--steps", "--threads"])
def test_sizes_of_zero_are_usage_errors(folder, tmp_path, option):
    with pytest.raises(UsageError):
        run(folder, tmp_path, option, "0")


def test_pictures_smaller_than_a_patch_are_refused(folder, tmp_path):
    """LR is 12 x 15 here, of every picture."""
    with pytest.raises(GpsrError):
        run(folder, tmp_path, "--patch", "24")


def test_a_gpu_that_is_not_there_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable, match="--device cpu"):
        run(folder, tmp_path, "--device", "cuda")


def test_help_names_the_defaults(capsys):
    with pytest.raises(SystemExit):
        command_line.parse(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "largest norm of the gradient (default 1.0)" in said
    assert "over all processes (default 16)" in said
    assert "(default False)" not in said
