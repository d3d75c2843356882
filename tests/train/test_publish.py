"""A run that is published: float16 weights, its log and its description."""

import pytest
import torch

import publish
from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.model_files import checkpoint as checkpoint_file


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
