"""The recipe by hand: optimiser, learning rate, average, time and validation, from their formulas."""

import json
import math
import types

import pytest
import torch
from training_runs import (
    OPTIONS,
    Killed,
    counted,
    forget_number,
    interrupt,
    killed_at,
    log,
    require_same,
    run,
    tensors,
    trained,
)

import degradations
import losses
import patches
import state
import train
from data import Photograph
from gpsr_deploy import metrics
from gpsr_deploy.network.gpsr import build


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
