"""Training: MATLAB's degradation, samples as pure functions, the paper's loss, and runs that survive being killed."""

import io
import json
import math
import os
import signal
import tarfile

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch

import data
import degradations
import losses
import train
from gpsr_deploy.errors import GpsrError, InputUnreadable, UsageError
from gpsr_deploy.network import GRADIENT_EPS


def shard_bytes(members: dict[str, bytes]) -> bytes:
    """A tar shard of encoded pictures."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, encoded in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(encoded)
            tar.addfile(header, io.BytesIO(encoded))
    return buffer.getvalue()


# --- degradation ---


def matlab_imresize(image, scale):
    """MATLAB's imresize(image, 1/scale, 'bicubic') of an (H, W, C) float64 picture, from its source's formulas.

    Rows first: each output is a weighted mean under Keys' kernel (a = -0.5) stretched by `scale`, the picture mirrored at
    its borders with the edge pixel repeated.
    """
    for axis in (0, 1):
        length = image.shape[axis]
        rows = np.zeros((length // scale, length))
        for output in range(length // scale):
            centre = (output + 1) * scale + 0.5 * (1 - scale)  # counted from 1
            taps = math.floor(centre - 2 * scale) + np.arange(4 * scale + 2)
            x = np.abs(centre - taps) / scale
            near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            weights = np.where(x <= 1, near, np.where(x <= 2, far, 0)) / scale
            mirrored = np.concatenate([np.arange(length), np.arange(length)[::-1]])[(taps - 1) % (2 * length)]
            np.add.at(rows[output], mirrored, weights / weights.sum())
        image = np.moveaxis(np.tensordot(rows, image, (1, axis)), 0, axis)
    return image


def as_batch(image, dtype=torch.float64):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["as in training", "as in evaluation"])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_imresize_is_matlabs_to_the_last_8_bit_pixel(photo, scale, dtype):
    hr = photo[:, :240]
    found = degradations.to_8_bit(degradations.imresize(as_batch(hr, dtype) / 255.0, scale))[0]
    wanted = np.clip(np.floor(matlab_imresize(hr / 255.0, scale) * 255 + 0.5), 0, 255)
    assert np.count_nonzero(found.permute(1, 2, 0).numpy() != wanted) == 0


def test_imresize_of_a_picture_smaller_than_its_kernel_mirrors_it_again(photo):
    hr = photo[:8, :16] / 255.0
    found = degradations.imresize(as_batch(hr), 8)[0].permute(1, 2, 0).numpy()
    assert found == pytest.approx(matlab_imresize(hr, 8), abs=1e-12)  # 34 products per axis in float64


def test_8_bit_rounds_half_up_and_clips():
    values = torch.tensor([-1.0, 0.0, 0.4999, 0.5, 1.4999, 1.5, 254.5, 255.0, 300.0], dtype=torch.float64)
    assert degradations.to_8_bit(values / 255).tolist() == [0, 0, 0, 1, 1, 2, 255, 255, 255]


# --- data ---


def png(pixels):
    return cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def pictures(photo):
    """Name and pixels of four small pictures; 50 and 62 are no multiples of 4."""
    return {
        f"{name}.png": photo[top : top + 50, top : top + 62]
        for name, top in zip("abcd", (0, 60, 120, 190), strict=True)
    }


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    for name, pixels in pictures.items():
        (path / name).write_bytes(png(pixels))
    return path


@pytest.fixture(scope="module")
def shards(pictures, tmp_path_factory):
    """The same pictures in two tar shards, in no order."""
    path = tmp_path_factory.mktemp("shards")
    encoded = {name: png(pixels) for name, pixels in pictures.items()}
    (path / "0.tar").write_bytes(shard_bytes({name: encoded[name] for name in ("c.png", "a.png", "b.png")}))
    (path / "1.tar").write_bytes(shard_bytes({"d.png": encoded["d.png"]}))
    return path


@pytest.mark.parametrize("source", ["folder", "shards"])
def test_pictures_come_in_order_cropped_to_the_scale_with_their_lr(request, pictures, source):
    found, bad = data.read_photographs(request.getfixturevalue(source), scale=4)
    assert bad == []
    assert [photograph.name for photograph in found] == sorted(pictures)
    for photograph in found:
        hr = pictures[photograph.name][:48, :60]
        assert np.array_equal(photograph.hr.permute(1, 2, 0).numpy(), hr)
        wanted = np.clip(np.floor(matlab_imresize(hr / 255.0, 4) * 255 + 0.5), 0, 255)
        assert np.array_equal(photograph.lr.permute(1, 2, 0).numpy(), wanted)


def test_validation_pictures_are_not_trained_on(folder, shards):
    for source, expected in ((folder, ["a.png"]), (shards, ["d.png"])):
        training, validation = train.split(source, scale=4)
        assert [photograph.name for photograph in validation] == expected
        assert not {photograph.name for photograph in training} & set(expected)
        assert len(training) == 3


def test_pictures_that_cannot_be_decoded_are_left_out_and_listed(pictures, tmp_path, capsys):
    for name, pixels in pictures.items():
        (tmp_path / name).write_bytes(png(pixels))
    (tmp_path / "cut.png").write_bytes(png(pictures["a.png"])[:-2000])
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.jpg").touch()
    training, validation = train.split(tmp_path, scale=4)
    assert len(training) + len(validation) == len(pictures)
    warned = capsys.readouterr().err
    assert all(name in warned for name in ("cut.png", "text.png", "empty.jpg"))


def test_a_picture_smaller_than_the_scale_is_left_out(pictures, tmp_path, capsys):
    for name, pixels in pictures.items():
        (tmp_path / name).write_bytes(png(pixels))
    (tmp_path / "z.png").write_bytes(png(pictures["a.png"][:3, :40]))
    training, validation = train.split(tmp_path, scale=4)
    assert len(training) + len(validation) == len(pictures)
    assert "z.png" in capsys.readouterr().err


def test_no_pictures_are_an_unreadable_input(tmp_path):
    with pytest.raises(InputUnreadable):
        train.split(tmp_path, scale=4)


@pytest.fixture(scope="module")
def photographs(folder):
    return data.read_photographs(folder, scale=4)[0]


def batch_of(photographs, *, step, batch, seed=0):
    return data.sample_batch(photographs, seed=seed, step=step, batch=batch, patch=9, scale=4)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_sample_is_a_pure_function_of_seed_and_index(photographs):
    first = batch_of(photographs, step=1, batch=4)
    np.random.seed(7)
    torch.manual_seed(7)
    assert same(batch_of(photographs, step=1, batch=4), first)
    halves = [batch_of(photographs, step=step, batch=2) for step in (2, 3)]  # the same samples, 4 to 7
    assert same([torch.cat(parts) for parts in zip(*halves, strict=True)], first)
    assert not same(batch_of(photographs, step=2, batch=4), first)
    assert not same(batch_of(photographs, step=1, batch=4, seed=1), first)


def test_lr_and_hr_of_a_sample_show_the_same_place(photographs):
    """Away from the patch's border, which sees other neighbours, LR is HR made small and rounded to 8 bits."""
    lr, hr = batch_of(photographs, step=0, batch=32)
    assert (lr.shape, hr.shape) == ((32, 3, 9, 9), (32, 3, 36, 36))
    small = degradations.imresize(hr.double(), 4)[:, :, 2:-2, 2:-2]
    assert (small.clamp(0, 1) - lr[:, :, 2:-2, 2:-2]).abs().max() <= (0.5 + 1e-3) / 255


def test_samples_are_turned_in_all_eight_ways():
    """Of a picture whose patch has its brightest pixel near one end of one side."""
    lr = torch.zeros(3, 9, 9, dtype=torch.uint8)
    lr[:, 0, 1] = 255
    only = data.Photograph(name="x", hr=lr.repeat_interleave(4, 1).repeat_interleave(4, 2), lr=lr)
    found, _ = batch_of([only], step=0, batch=100)
    assert len({int(patch[0].argmax()) for patch in found}) == 8


# --- loss ---


@pytest.mark.parametrize("levels", [2, 3], ids=["x4", "x8"])
def test_the_loss_is_the_papers_by_hand(levels):
    """L1(SR, HR) + 0.1 sum_s L1(G_s, g(down(HR))) + 0.001 L1(g(SR), g(HR)), in numpy."""

    def g(image):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        dx, dy = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
        return np.sqrt(dx**2 + dy**2 + GRADIENT_EPS)

    random = np.random.default_rng(0)
    sr, hr = random.random((2, 24, 16, 3))
    maps = [random.random((24 >> smaller, 16 >> smaller, 3)) for smaller in reversed(range(levels))]
    labels = [g(matlab_imresize(hr, 1 << smaller)) if smaller else g(hr) for smaller in reversed(range(levels))]
    wanted = (
        np.abs(sr - hr).mean()
        + 0.1 * sum(np.abs(found - label).mean() for found, label in zip(maps, labels, strict=True))
        + 0.001 * np.abs(g(sr) - g(hr)).mean()
    )
    found = losses.gpsr_loss(as_batch(sr), [as_batch(found) for found in maps], as_batch(hr))
    assert found.item() == pytest.approx(wanted, abs=1e-12)  # float64


# --- runs ---


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

    def act(run, *batch):
        if run.step == step and not done:
            done.append(True)
            action()
        return train_step(run, *batch)

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
    write = train.atomic.write
    monkeypatch.setattr(
        train.atomic,
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

    def spoil(*arguments):
        calls.append(True)
        return loss(*arguments) * (math.nan if spoils(len(calls)) else 1)

    monkeypatch.setattr(train, "gpsr_loss", spoil)


def test_a_step_whose_loss_is_not_finite_is_skipped(folder, tmp_path, monkeypatch):
    spoiled_loss(monkeypatch, lambda call: call == 2)
    assert run(folder, tmp_path) == 0
    assert all(torch.isfinite(value).all() for value in tensors(tmp_path).values())


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
