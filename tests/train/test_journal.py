"""What a run tells: the bar, the log, TensorBoard, and the pictures left out."""

import io
import json
import sys
import types

import pytest
from training_runs import Killed, interrupt, killed_at, log, run

import journal
from gpsr_deploy.errors import BackendUnavailable, OutputUnwritable


def test_the_bar_shows_loss_psnr_speed_and_the_time_left(tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    now = types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(journal, "time", types.SimpleNamespace(monotonic=lambda: now.seconds))
    shown = journal.Journal(tmp_path, step=0, progress=0, tensorboard=False)
    shown.validated(journal.Line(step=1, minutes=0.1, loss=0.5, val_psnr=31.234, learning_rate=1e-3, skipped=0))
    now.seconds = 60.0
    shown.stepped(step=2, progress=0.25, loss=0.125, patches=30)
    for losses_of_a_step in (0.1, 0.3):
        shown.stepped(step=3, progress=0.5, loss=losses_of_a_step, patches=15)
    shown.bar.refresh()
    shown.close()
    assert "50%" in terminal.getvalue()
    assert " step 3, loss 0.1750, 31.23 dB, 1 patches/s, 01:00 left" in terminal.getvalue()


def test_a_run_without_stderr_goes_on(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert run(folder, tmp_path) == 0


def test_a_log_line_that_was_cut_off_is_dropped(folder, uninterrupted, tmp_path):
    assert run(folder, tmp_path) == 0
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    assert run(folder, tmp_path) == 0
    assert log(tmp_path) == log(uninterrupted)


def test_a_log_that_cannot_be_written_is_an_unwritable_output(folder, tmp_path):
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(OutputUnwritable):
        run(folder, tmp_path)


def test_tensorboard_has_the_same_values_as_the_log_also_after_a_kill(folder, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed_at(monkeypatch, 5, interrupt)
    with pytest.raises(Killed):
        run(folder, tmp_path, "--tensorboard", "--every", "2")
    (tmp_path / "last.safetensors").write_bytes(b"damaged")  # so that it goes on from step 2, and step 4 comes again
    assert run(folder, tmp_path, "--tensorboard", "--every", "2") == 0
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for name in ("loss", "val_psnr", "learning_rate"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(line["step"], pytest.approx(line[name])) for line in log(tmp_path)]


def test_without_tensorboard_the_flag_names_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(BackendUnavailable, match="pip install"):
        run(folder, tmp_path, "--tensorboard")


def test_pictures_left_out_are_named_on_stderr_and_in_the_description(folder, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in folder.iterdir():
        (pictures / path.name).write_bytes(path.read_bytes())
    (pictures / "cut.png").write_bytes((folder / "a.png").read_bytes()[:-2000])
    assert run(pictures, tmp_path / "out") == 0
    assert "cut.png" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "run.json").read_text())["left_out"] == ["cut.png"]
