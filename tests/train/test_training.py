"""Runs: the same bits after any death, refusals that lose nothing, processes that agree, and what a run leaves behind."""

import dataclasses
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import types
import weakref
from pathlib import Path

import cv2
import pytest
import safetensors.torch
import torch
from project import ROOT

import degradations
import journal
import losses
import options as command_line
import patches
import publish
import sheet
import state
import stopwatch
import train
from data import Photograph
from gpsr_deploy import metrics
from gpsr_deploy.errors import (
    BackendUnavailable,
    GpsrError,
    InputUnreadable,
    OutOfMemory,
    OutputUnwritable,
    UsageError,
)
from gpsr_deploy.media import images
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.network.gpsr import build
from gpsr_deploy.network.layers import gradient_map


@pytest.fixture(scope="module")
def folder(photo, tmp_path_factory):
    """Four small pictures; LR is 12 x 15."""
    path = tmp_path_factory.mktemp("pictures")
    for name, top in zip("abcd", (0, 60, 120, 190), strict=True):
        cv2.imwrite(str(path / f"{name}.png"), photo[top : top + 50, top : top + 62, ::-1])
    return path


@pytest.fixture(autouse=True)
def globals_restored():
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    yield
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)


OPTIONS = "--model nano --scale 4 --steps 6 --every 3 --batch 2 --patch 6 --warmup 2 --threads 1 --device cpu"


def run(folder, out, *options):
    """Six steps of `nano` x4 on tiny patches, with a checkpoint every three."""
    return train.main(["--data", str(folder), "--out", str(out), *OPTIONS.split(), *options])


def tensors(out):
    """Weights, EMA and optimiser at the end of a run."""
    return safetensors.torch.load_file(out / "last.safetensors")


def log(out):
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "minutes"} for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    assert run(folder, out) == 0
    return out


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


def require_same(out, uninterrupted):
    found, wanted = tensors(out), tensors(uninterrupted)
    assert list(found) == list(wanted)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    best = [safetensors.torch.load_file(folder / "best.safetensors") for folder in (out, uninterrupted)]
    assert all(torch.equal(best[0][key], best[1][key]) for key in best[1])
    assert log(out) == log(uninterrupted)


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


def test_pictures_smaller_than_a_patch_are_refused(folder, tmp_path):
    """LR is 12 x 15 here, of every picture."""
    with pytest.raises(GpsrError):
        run(folder, tmp_path, "--patch", "24")


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


def test_a_log_line_that_was_cut_off_is_dropped(folder, uninterrupted, tmp_path):
    assert run(folder, tmp_path) == 0
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    assert run(folder, tmp_path) == 0
    assert log(tmp_path) == log(uninterrupted)


@pytest.mark.parametrize("option", ["--batch", "--patch", "--warmup", "--every", "--steps", "--threads"])
def test_sizes_of_zero_are_usage_errors(folder, tmp_path, option):
    with pytest.raises(UsageError):
        run(folder, tmp_path, option, "0")


# --- mutants: each part of the state matters ---


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


def forget_number(name, value):
    return lambda run: setattr(run, name, value)


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


# --- the recipe, by hand ---


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_run_is_the_recipe_by_hand(folder, tmp_path, float64):
    """Adam, warm-up, cosine, clipping and EMA from their formulas, in float64: rounding stays below 1e-9 in six steps."""
    clip, ema, peak = 0.05, 0.3, 1e-3
    assert run(folder, tmp_path, "--clip", str(clip), "--ema", str(ema), "--warmup", "3") == 0
    split = train.read_split(folder, scale=4, smallest=6)
    source = patches.Patches(split.training, scale=4, patch=6, device=torch.device("cpu"))
    torch.manual_seed(0)
    network = build("nano", scale=4)
    names, weights = zip(*network.named_parameters(), strict=True)
    average = [weight.detach().clone() for weight in weights]
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    clipped = 0
    for step in range(6):
        lr, hr = source.batch(seed=0, first=2 * step, count=2)
        loss = losses.gpsr_loss(*network.forward_with_maps(lr), hr, alpha=0.1, beta=0.001)
        gradients = torch.autograd.grad(loss, weights)
        norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
        clipped += norm > clip
        learning_rate = min(1, (step + 1) / 3) * (1e-7 + (peak - 1e-7) * (1 + math.cos(math.pi * step / 6)) / 2)
        decay = min(ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for number, gradient in enumerate(gradients):
                gradient = gradient * min(1, clip / (norm + 1e-6))  # as torch clips
                first[number] = 0.9 * first[number] + 0.1 * gradient
                second[number] = 0.999 * second[number] + 0.001 * gradient**2
                unbiased = first[number] / (1 - 0.9 ** (step + 1)), second[number] / (1 - 0.999 ** (step + 1))
                weights[number].sub_(learning_rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8))
                average[number] = decay * average[number] + (1 - decay) * weights[number]
    assert clipped
    found = tensors(tmp_path)
    for name, weight, averaged in zip(names, weights, average, strict=True):
        assert (found[f"network.{name}"] - weight).abs().max() <= 1e-9, name
        assert (found[f"ema.{name}"] - averaged).abs().max() <= 1e-9, name


def test_the_learning_rate_rises_over_the_warm_up_and_falls_as_a_cosine_to_1e_7():
    recipe = types.SimpleNamespace(warmup=10, learning_rate=1e-3)
    rates = [train.learning_rate(recipe, step=step, progress=0) for step in (0, 4, 9, 50)]
    assert rates == pytest.approx([1e-4, 5e-4, 1e-3, 1e-3])
    rates = [train.learning_rate(recipe, step=50, progress=progress) for progress in (0, 0.5, 1, 1.1)]
    assert rates == pytest.approx([1e-3, (1e-3 + 1e-7) / 2, 1e-7, 1e-7])


def minutes(folder, out):
    """A run of a minute."""
    options = OPTIONS.replace("--steps 6", "--minutes 1").split()
    return train.main(["--data", str(folder), "--out", str(out), *options])


@pytest.fixture
def clock(monkeypatch):
    """A clock on which a step takes 10 s, and a validation 1000 s."""
    now = types.SimpleNamespace(seconds=0.0)
    train_step, validate = train.train_step, train.validate

    def step(*batch, **options):
        now.seconds += 10
        return train_step(*batch, **options)

    def validation(*arguments):
        now.seconds += 1000
        return validate(*arguments)

    monkeypatch.setattr(train, "train_step", step)
    monkeypatch.setattr(train, "validate", validation)
    monkeypatch.setattr(train, "time", types.SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_minutes_end_the_cosine_after_the_time_spent_in_steps(folder, uninterrupted, tmp_path, clock):
    """Which, with six steps of equal length, is what --steps 6 does."""
    assert minutes(folder, tmp_path) == 0
    require_same(tmp_path, uninterrupted)
    assert [json.loads(line)["minutes"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [0.5, 1]


@pytest.mark.parametrize("forgetful", [False, True])
def test_the_time_spent_counts_across_a_restart(folder, uninterrupted, tmp_path, monkeypatch, clock, forgetful):
    """As a mutant: a resume that forgets it makes more steps."""
    killed_at(monkeypatch, 4, interrupt)
    with pytest.raises(Killed):
        minutes(folder, tmp_path)
    if forgetful:
        resume = state.Run.resume
        monkeypatch.setattr(
            state.Run, "resume", lambda run, path: (resume(run, path), forget_number("seconds", 0.0)(run))
        )
    steps = counted(monkeypatch)
    assert minutes(folder, tmp_path) == 0
    assert len(steps) == (6 if forgetful else 3)
    if not forgetful:
        require_same(tmp_path, uninterrupted)


def test_what_is_validated_and_kept_as_the_best_is_the_average(folder, tmp_path):
    network, info = trained(folder, tmp_path, "--steps", "3")
    found, (line,) = tensors(tmp_path), log(tmp_path)
    assert all(torch.equal(value, found[f"ema.{key}"]) for key, value in network.state_dict().items())
    (photograph,) = train.read_split(folder, scale=4, smallest=6).validation
    with torch.no_grad():
        sr = degradations.to_8_bit(network(photograph.lr[None, :, :12, :15] / 255.0))[0].permute(1, 2, 0).numpy()
    by_hand = metrics.psnr(sr, photograph.hr.permute(1, 2, 0).numpy(), shave=4)
    assert line["val_psnr"] == info.training["val_psnr"] == round(by_hand, 4)


def test_a_white_page_among_the_validation_pictures_hides_no_other(folder):
    """It comes out exact, with an infinite PSNR."""
    white = Photograph(name="white", hr=torch.full((3, 48, 48), 255).byte(), lr=torch.full((3, 12, 12), 255).byte())
    (other,) = train.read_split(folder, scale=4).validation
    network, cpu = build("nano", scale=4), torch.device("cpu")
    alone = train.validate(network, [other], cpu)
    assert train.validate(network, [white, other], cpu) == pytest.approx((train.MAX_PSNR + alone) / 2)


# --- processes ---


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
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
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


# --- variants of the recipe ---


def trained(folder, out, *options):
    assert run(folder, out, *options) == 0
    return checkpoint_file.load(out / "best.safetensors")


@pytest.mark.parametrize(
    ("options", "without"),
    [
        (["--no-gradient-branch"], ("gradient_branch",)),
        (["--no-lrsam"], ("lrsam",)),
        (["--no-crfs"], ("crfs",)),
        (["--plain-blocks"], ("lrsam", "crfs")),
        (["--plain-blocks", "--no-gradient-branch"], ("gradient_branch", "lrsam", "crfs")),
    ],
    ids=lambda value: "+".join(value),
)
def test_ablated_networks_train_and_resume_and_say_what_they_lack(folder, tmp_path, monkeypatch, options, without):
    killed_at(monkeypatch, 4, interrupt)
    with pytest.raises(Killed):
        run(folder, tmp_path, *options)
    network, info = trained(folder, tmp_path, *options)
    assert network.config.without == info.without == without
    assert log(tmp_path)[-1]["step"] == 6
    with pytest.raises(UsageError, match="without: "):
        run(folder, tmp_path)


@pytest.mark.parametrize(
    "options",
    [["--alpha", "0"], ["--beta", "0"], ["--degradation", "bd"], ["--bf16"], ["--scale", "8", "--patch", "3"]],
    ids="+".join,
)
def test_each_option_of_the_recipe_changes_the_weights(folder, uninterrupted, tmp_path, options):
    run(folder, tmp_path, *options)
    found, usual = tensors(tmp_path), tensors(uninterrupted)
    assert any(
        found[key].shape != usual[key].shape or not torch.equal(found[key], usual[key]) for key in usual if key in found
    )


def test_heads_that_no_loss_reads_stay_as_they_were(folder, tmp_path):
    run(folder, tmp_path, "--alpha", "0")
    found = tensors(tmp_path)
    assert not any(key.startswith("adam.map_heads") for key in found)
    assert torch.equal(found["network.map_heads.0.weight"], found["ema.map_heads.0.weight"])


def test_layout_changes_rounding_only(folder, uninterrupted, tmp_path):
    run(folder, tmp_path, "--no-channels-last")
    found, usual = tensors(tmp_path), tensors(uninterrupted)
    assert max((found[key].float() - usual[key].float()).abs().max() for key in usual if "ema." in key) < 1e-4


def test_a_run_starts_from_a_checkpoint(folder, uninterrupted, tmp_path):
    start = uninterrupted / "best.safetensors"
    tiny = ["--steps", "1", "--every", "1", "--learning-rate", "1e-12"]
    network, _ = trained(folder, tmp_path, "--start", str(start), *tiny)
    wanted = checkpoint_file.load(start)[0].state_dict()
    for key, value in network.state_dict().items():
        assert (value - wanted[key]).abs().max() <= 1e-7, key
    with pytest.raises(UsageError, match="start: "):
        run(folder, tmp_path, *tiny)


def test_a_start_from_another_network_is_refused(folder, tmp_path):
    path = tmp_path / "lite.safetensors"
    checkpoint_file.save(build("lite", scale=4), path, member="lite", training={})
    with pytest.raises(UsageError, match="gpsr-lite-x4"):
        run(folder, tmp_path / "out", "--start", str(path))


def test_a_teacher_pulls_the_result_towards_its_own(folder, photo, tmp_path):
    """A teacher whose SR is flat grey makes a student the greyer, the more its weight is."""
    teacher = build("nano", scale=4)
    with torch.no_grad():
        teacher.tail.weight.zero_()
        teacher.tail.bias.fill_(0.5)
    checkpoint_file.save(teacher, tmp_path / "grey.safetensors", member="nano", training={})
    options = [
        "--steps",
        "20",
        "--every",
        "20",
        "--learning-rate",
        "0.003",
        "--teacher",
        str(tmp_path / "grey.safetensors"),
    ]
    little, much = (
        trained(folder, tmp_path / weight, *options, "--teacher-weight", weight)[0] for weight in ("0.1", "30")
    )
    lr = torch.from_numpy(photo[None, :48, :48].transpose(0, 3, 1, 2).copy()) / 255.0
    with torch.inference_mode():
        distance = [(network(lr) - 0.5).abs().mean().item() for network in (little, much)]
    assert distance[1] < 0.9 * distance[0]


def test_a_teacher_of_another_scale_is_refused(folder, tmp_path):
    path = tmp_path / "x8.safetensors"
    checkpoint_file.save(build("nano", scale=8), path, member="nano", training={})
    with pytest.raises(UsageError, match="x8"):
        run(folder, tmp_path / "out", "--teacher", str(path))


@pytest.mark.slow
def test_a_compiled_network_trains_the_same(folder, uninterrupted, tmp_path):
    assert run(folder, tmp_path, "--compile") == 0
    found, usual = tensors(tmp_path), tensors(uninterrupted)
    assert list(found) == list(usual)
    assert max((found[key].float() - usual[key].float()).abs().max() for key in usual if "ema." in key) < 1e-4


@pytest.mark.gpu
def test_a_gpu_trains_and_its_data_takes_under_a_twentieth_of_a_step(folder, tmp_path, capsys):
    options = ["--device", "cuda", "--bf16", "--steps", "200", "--every", "200", "--batch", "16", "--split-time"]
    assert run(folder, tmp_path, *options) == 0
    split = capsys.readouterr().out.splitlines()[-1]
    shares = {
        part.split()[-2]: float(part.split()[-1].rstrip("%")) for part in split.split(";")[0].split(": ")[1].split(", ")
    }
    assert shares["data"] + shares["logging"] < 5


# --- what a run leaves behind ---


def test_a_run_leaves_its_description_sheets_and_curves(folder, uninterrupted):
    described = json.loads((uninterrupted / "run.json").read_text())
    assert described["photographs"] == 3
    assert described["left_out"] == []
    assert described["recipe"]["model"] == "nano"
    assert described["length"] == {"steps": 6, "minutes": None}
    assert sorted(path.name for path in (uninterrupted / "sheets").iterdir()) == ["00000003.png", "00000006.png"]
    drawn = images.read(uninterrupted / "sheets" / "00000006.png").pixels
    assert drawn.shape == (sheet.TITLE_HEIGHT + sheet.SIDE + sheet.GAP, 7 * (sheet.SIDE + sheet.GAP), 3)
    side = 48  # 12 LR pixels: the columns LR, bicubic, SR, HR, G, g(SR), g(HR)
    columns = [
        drawn[sheet.TITLE_HEIGHT : sheet.TITLE_HEIGHT + side, left : left + side]
        for left in range(0, drawn.shape[1], sheet.SIDE + sheet.GAP)
    ]
    (path,) = (path for path in folder.iterdir() if path.stem == "a")
    hr = images.read(path).pixels[:48, 4:52]  # the middle 12 of 15 LR pixels, from the first on
    assert (columns[3] == hr).all()
    assert (columns[0][::4, ::4].repeat(4, axis=0).repeat(4, axis=1) == columns[0]).all()
    assert images.read(uninterrupted / "curves.png").pixels.std() > 1


def test_the_sheet_shows_what_the_average_makes(folder, uninterrupted):
    network = build("nano", scale=4).to(memory_format=torch.channels_last)
    network.load_state_dict({key[4:]: value for key, value in tensors(uninterrupted).items() if key.startswith("ema.")})
    (photograph,) = train.read_split(folder, scale=4).validation
    lr, hr = photograph.lr[None, :, :, 1:13] / 255.0, photograph.hr[None, :, :, 4:52] / 255.0
    with torch.no_grad():
        sr, maps = network.forward_with_maps(lr)
    wanted = [degradations.bicubic_upsample(lr, 4), sr, hr, maps[-1], gradient_map(sr), gradient_map(hr)]
    drawn = images.read(uninterrupted / "sheets" / "00000006.png").pixels
    for column, picture in enumerate(wanted, start=1):
        left = column * (sheet.SIDE + sheet.GAP)
        found = drawn[sheet.TITLE_HEIGHT : sheet.TITLE_HEIGHT + 48, left : left + 48]
        assert (found == degradations.to_8_bit(picture)[0].permute(1, 2, 0).numpy()).all(), column


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


def test_what_is_decoded_is_not_kept_beside_the_patches(folder, tmp_path, monkeypatch):
    """DIV2K is 7 GB."""
    read_split, pictures = train.read_split, []

    def remembered(*arguments, **options):
        split = read_split(*arguments, **options)
        pictures.extend(weakref.ref(photograph.hr) for photograph in split.training)
        return split

    monkeypatch.setattr(train, "read_split", remembered)
    gone = []
    monkeypatch.setattr(train, "train", lambda *_, **__: gone.extend(found() is None for found in pictures))
    assert run(folder, tmp_path) == 0
    assert gone == [True, True, True]


def test_the_memory_of_a_gpu_that_runs_out_is_named(folder, tmp_path, monkeypatch):
    def full(*_batch, **_options):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(train, "train_step", full)
    with pytest.raises(OutOfMemory, match="--batch"):
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


def test_the_split_of_the_time_names_every_phase(folder, tmp_path, capsys):
    assert run(folder, tmp_path, "--split-time") == 0
    split = capsys.readouterr().out.splitlines()[-1]
    shares = [float(word.rstrip("%,;")) for word in split.split() if "%" in word]
    assert [name in split for name in stopwatch.STEP] == [True] * 5
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert all(share > 0 for share in shares)


def test_pictures_left_out_are_named_on_stderr_and_in_the_description(folder, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in folder.iterdir():
        (pictures / path.name).write_bytes(path.read_bytes())
    (pictures / "cut.png").write_bytes((folder / "a.png").read_bytes()[:-2000])
    assert run(pictures, tmp_path / "out") == 0
    assert "cut.png" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "run.json").read_text())["left_out"] == ["cut.png"]


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


def test_a_log_that_cannot_be_written_is_an_unwritable_output(folder, tmp_path):
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(OutputUnwritable):
        run(folder, tmp_path)


def test_an_out_that_is_a_file_is_an_unwritable_output(folder, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(OutputUnwritable):
        run(folder, tmp_path / "out")


def test_publishing_a_run_gives_float16_weights_their_log_and_their_description(folder, uninterrupted, tmp_path):
    path = publish.publish(uninterrupted, tmp_path / "weights")
    assert path.name == "gpsr_nano_x4.safetensors"
    network, info = checkpoint_file.load(path)
    best = checkpoint_file.load(uninterrupted / "best.safetensors")[0].state_dict()
    assert info.dtype == "F16"
    assert all(torch.equal(value, best[key].half().float()) for key, value in network.state_dict().items())
    for name in ("log.jsonl", "run.json"):
        assert path.with_suffix(f".{name}").read_bytes() == (uninterrupted / name).read_bytes()


def test_publishing_what_is_no_run_is_an_unreadable_input(tmp_path):
    with pytest.raises(InputUnreadable):
        publish.publish(tmp_path, tmp_path)


# --- the command line ---


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


def test_help_names_the_defaults(capsys):
    with pytest.raises(SystemExit):
        command_line.parse(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "largest norm of the gradient (default 1.0)" in said
    assert "over all processes (default 16)" in said
    assert "(default False)" not in said


def test_a_gpu_that_is_not_there_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable, match="--device cpu"):
        run(folder, tmp_path, "--device", "cuda")
