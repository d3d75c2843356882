"""From what a run goes on: an undamaged checkpoint, of the same recipe and pictures, that no other process writes."""

import dataclasses
import shutil
from pathlib import Path

import cv2
import pytest
import safetensors.torch
import torch
from training_runs import OPTIONS, Killed, counted, interrupt, killed_at, require_same, run, tensors

import state
import train
from gpsr_deploy.errors import InputUnreadable, OutputUnwritable, UsageError


@pytest.mark.parametrize(
    ("option", "value", "difference"),
    [
        ("--batch", "3", "batch: 2 there, 3 here"),
        ("--seed", "1", "seed: 0 there, 1 here"),
        ("--learning-rate", "0.5", "learning_rate: 0.001 there, 0.5 here"),
        ("--model", "lite", "model: nano there, lite here"),
    ],
)
def test_another_recipe_is_refused_with_the_difference(folder, uninterrupted, option, value, difference):
    before = (uninterrupted / "last.safetensors").read_bytes()
    with pytest.raises(UsageError, match=difference):
        run(folder, uninterrupted, option, value)
    assert (uninterrupted / "last.safetensors").read_bytes() == before


def test_every_field_of_the_recipe_is_compared(folder, uninterrupted):
    recipe = train.recipe_of(train.parse(["--data", str(folder), "--out", str(uninterrupted), *OPTIONS.split()]))
    others = {
        "model": "lite", "scale": 8, "without": ("lrsam",), "degradation": "bd", "start": "0" * 64, "teacher": "0" * 64,
        "bf16": True,
    }  # fmt: skip
    for field in dataclasses.fields(recipe):
        value = others.get(field.name, getattr(recipe, field.name))
        other = dataclasses.replace(recipe, **{field.name: value if field.name in others else value + 1})
        run_there = object.__new__(state.Run)
        run_there.recipe = other
        with pytest.raises(UsageError, match=f"{field.name}: "):
            run_there.resume(uninterrupted / "last.safetensors")


def test_a_run_with_other_pictures_is_refused(folder, photo, uninterrupted, tmp_path):
    shutil.copytree(folder, tmp_path / "more")
    cv2.imwrite(str(tmp_path / "more" / "e.png"), photo[100:150, 100:162, ::-1])
    before = (uninterrupted / "last.safetensors").read_bytes()
    with pytest.raises(UsageError, match="3 pictures.* there, 4 pictures.* here"):
        run(tmp_path / "more", uninterrupted)
    assert (uninterrupted / "last.safetensors").read_bytes() == before


def test_a_moved_folder_of_pictures_is_the_same(folder, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path / "out")
    shutil.copytree(folder, tmp_path / "pictures" / "inside")
    assert run(tmp_path / "pictures", tmp_path / "out") == 0


def test_a_checkpoint_from_before_pictures_were_noted_goes_on(folder, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "last.safetensors"
    with safetensors.safe_open(str(path), framework="pt") as file:
        metadata = {key: value for key, value in file.metadata().items() if key not in ("pictures", "sha256")}
    metadata["sha256"] = state.checksum(tensors(tmp_path), metadata)
    safetensors.torch.save_file(tensors(tmp_path), path, metadata=metadata)
    assert run(folder, tmp_path) == 0


def test_a_folder_in_which_another_process_trains_is_refused(folder, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    with state.claimed(tmp_path):
        with pytest.raises(OutputUnwritable, match="another process"):
            run(folder, tmp_path)
    assert run(folder, tmp_path) == 0


def test_a_damaged_last_checkpoint_gives_way_to_the_one_before_with_a_warning(
    folder, uninterrupted, tmp_path, monkeypatch, capsys
):
    killed_at(monkeypatch, 5, interrupt)
    with pytest.raises(Killed):
        run(folder, tmp_path, "--every", "2")
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-1000])
    steps = counted(monkeypatch)
    assert run(folder, tmp_path, "--every", "2") == 0
    assert "warning" in (said := capsys.readouterr().err)
    assert "step 2" in said
    assert len(steps) == 4
    found, wanted = tensors(tmp_path), tensors(uninterrupted)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_one_flipped_bit_in_the_last_checkpoint_is_noticed(folder, uninterrupted, tmp_path, monkeypatch, capsys):
    assert run(folder, tmp_path) == 0
    path = tmp_path / "last.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    steps = counted(monkeypatch)
    assert run(folder, tmp_path) == 0
    assert "damaged" in capsys.readouterr().err
    require_same(tmp_path, uninterrupted)
    assert len(steps) == 3


def test_a_damaged_checkpoint_never_takes_the_place_of_the_good_one(folder, uninterrupted, tmp_path, monkeypatch):
    """Killed where the last checkpoint has just become the one before."""
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    (tmp_path / "last.safetensors").write_bytes(b"damaged")
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda path, target: interrupt() if path.stem == "last.next" else replace(path, target)
    )
    with pytest.raises(Killed):
        run(folder, tmp_path)
    monkeypatch.undo()
    assert run(folder, tmp_path) == 0
    require_same(tmp_path, uninterrupted)


def test_where_both_checkpoints_are_damaged_the_run_ends_and_removes_nothing(folder, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    for name in ("last.safetensors", "last.before.safetensors"):
        (tmp_path / name).write_bytes(b"damaged")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputUnreadable, match="damaged"):
        run(folder, tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_ends_the_run_with_4_and_leaves_the_checkpoint_before(folder, tmp_path, monkeypatch):
    write = state.atomic.write

    def full(path, content):
        if path.name == "last.next.safetensors" and (tmp_path / "last.safetensors").exists():
            raise OutputUnwritable("cannot be written (No space left on device)", path=path)
        write(path, content)

    monkeypatch.setattr(state.atomic, "write", full)
    with pytest.raises(OutputUnwritable):
        run(folder, tmp_path)
    monkeypatch.undo()
    with safetensors.safe_open(str(tmp_path / "last.safetensors"), framework="pt") as file:
        assert file.metadata()["step"] == "3"


def test_an_out_that_is_a_file_is_an_unwritable_output(folder, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(OutputUnwritable):
        run(folder, tmp_path / "out")
