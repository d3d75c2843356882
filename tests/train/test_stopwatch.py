"""Where the time of a run goes: every phase is named, and on a GPU the data takes little of it."""

import pytest
from training_runs import run

import stopwatch


def test_the_split_of_the_time_names_every_phase(folder, tmp_path, capsys):
    assert run(folder, tmp_path, "--split-time") == 0
    split = capsys.readouterr().out.splitlines()[-1]
    shares = [float(word.rstrip("%,;")) for word in split.split() if "%" in word]
    assert [name in split for name in stopwatch.STEP] == [True] * 5
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert all(share > 0 for share in shares)


@pytest.mark.gpu
def test_a_gpu_trains_and_its_data_takes_under_a_twentieth_of_a_step(folder, tmp_path, capsys):
    options = ["--device", "cuda", "--bf16", "--steps", "200", "--every", "200", "--batch", "16", "--split-time"]
    assert run(folder, tmp_path, *options) == 0
    split = capsys.readouterr().out.splitlines()[-1]
    shares = {
        part.split()[-2]: float(part.split()[-1].rstrip("%")) for part in split.split(";")[0].split(": ")[1].split(", ")
    }
    assert shares["data"] + shares["logging"] < 5
