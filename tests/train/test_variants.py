"""Variants of the recipe: ablations, each option, a start from a checkpoint, a teacher, a compiled network."""

import pytest
import torch
from training_runs import Killed, interrupt, killed_at, log, run, tensors, trained

from gpsr_deploy.errors import UsageError
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.network.gpsr import build


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
