"""Runs: the same bits after any death, refusals that lose nothing, processes that agree, and what a run leaves behind."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import safetensors.torch
import torch

import publish
import sheet
import state
import stopwatch
import train
from gpsr_deploy import checkpoint_file, images
from gpsr_deploy.errors import BackendUnavailable, GpsrError, InputUnreadable, OutputUnwritable, UsageError
from gpsr_deploy.network import build

ROOT = Path(__file__).parent.parent


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
    assert run(folder, tmp_path) == 0
    require_same(tmp_path, uninterrupted)


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
    assert run(folder, tmp_path) == 0
    require_same(tmp_path, uninterrupted)


def test_a_finished_run_is_left_as_it_is(folder, uninterrupted):
    before = tensors(uninterrupted)
    assert run(folder, uninterrupted) == 0
    assert all(torch.equal(value, before[key]) for key, value in tensors(uninterrupted).items())


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
    assert run(folder, tmp_path, "--every", "2") == 0
    assert "warning" in capsys.readouterr().err
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


def test_one_flipped_bit_in_the_last_checkpoint_is_noticed(folder, uninterrupted, tmp_path, capsys):
    assert run(folder, tmp_path) == 0
    path = tmp_path / "last.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert run(folder, tmp_path) == 0
    assert "damaged" in capsys.readouterr().err
    require_same(tmp_path, uninterrupted)


def test_a_log_line_that_was_cut_off_is_dropped(folder, uninterrupted, tmp_path):
    assert run(folder, tmp_path) == 0
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    assert run(folder, tmp_path) == 0
    assert log(tmp_path) == log(uninterrupted)


@pytest.mark.parametrize("option", ["--batch", "--patch", "--warmup", "--every", "--steps", "--threads"])
def test_sizes_of_zero_are_usage_errors(folder, tmp_path, option):
    with pytest.raises(SystemExit) as stopped:
        run(folder, tmp_path, option, "0")
    assert stopped.value.code == 2


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
    """A teacher whose SR is flat grey makes a student greyer than it would become."""
    teacher = build("nano", scale=4)
    with torch.no_grad():
        teacher.tail.weight.zero_()
        teacher.tail.bias.fill_(0.5)
    checkpoint_file.save(teacher, tmp_path / "grey.safetensors", member="nano", training={})
    options = ["--steps", "20", "--every", "20", "--learning-rate", "0.003"]
    alone, _ = trained(folder, tmp_path / "alone", *options)
    taught, _ = trained(
        folder, tmp_path / "taught", *options, "--teacher", str(tmp_path / "grey.safetensors"), "--teacher-weight", "30"
    )
    lr = torch.from_numpy(photo[None, :48, :48].transpose(0, 3, 1, 2).copy()) / 255.0
    with torch.inference_mode():
        distance = [(network(lr) - 0.5).abs().mean().item() for network in (alone, taught)]
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


def test_tensorboard_has_the_same_values_as_the_log(folder, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run(folder, tmp_path, "--tensorboard") == 0
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
    with pytest.raises(SystemExit) as stopped:
        run(folder, tmp_path, *options)
    assert stopped.value.code == 2
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_not_there_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable, match="--device cpu"):
        run(folder, tmp_path, "--device", "cuda")
