"""Weights of other people's trainers: tensors are taken, code never runs."""

import os
import pickle
from pathlib import Path

import pytest
import torch

import from_pth
from gpsr_deploy.errors import ModelRefused, OutputUnwritable, UsageError
from gpsr_deploy.model_files import checkpoint as checkpoint_file


def convert(source: Path, *options: str) -> Path:
    target = source.with_suffix(".safetensors")
    assert from_pth.main([str(source), "-o", str(target), "--model", "nano", "--scale", "4", *options]) == 0
    return target


WRAPS = {
    "bare": lambda weights: weights,
    "averaged": lambda weights: {"params": {"another": torch.zeros(1)}, "params_ema": weights},
    "with its epoch": lambda weights: {"state_dict": weights, "epoch": 3},
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_come_through_unchanged(tmp_path: Path, nano, wrap: str, prefix: str):
    weights = nano.state_dict()
    torch.save(WRAPS[wrap]({prefix + name: value for name, value in weights.items()}), tmp_path / "w.pth")
    network, info = checkpoint_file.load(convert(tmp_path / "w.pth"))
    assert info.name == "gpsr-nano-x4"
    assert info.training["converted_from"] == "w.pth"
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_a_pickle_with_code_is_refused_and_nothing_runs(tmp_path: Path):
    trap = tmp_path / "trap"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {trap}",)

    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"head.weight": Evil()}, tmp_path / "zip.pth")
    for name in ("plain.pth", "zip.pth"):
        with pytest.raises(ModelRefused, match="no weights"):
            convert(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.pth", "zip.pth"]


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"PK\x03\x04" + bytes(50), b"\x00" * 100, b"text"])
def test_what_is_no_file_of_torch_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ModelRefused):
        convert(tmp_path / "w.pth")


def test_other_things_than_the_weights_of_the_network_are_refused(tmp_path: Path, nano):
    weights = nano.state_dict()
    first = next(iter(weights))
    spoiled = {
        "lacks": {name: value for name, value in weights.items() if name != first},
        "holds": weights | {"extra": torch.zeros(1)},
        "NaN": weights | {first: torch.full_like(weights[first], torch.nan)},
        "int32": weights | {first: torch.zeros_like(weights[first], dtype=torch.int32)},
        "no table": torch.zeros(3),
    }
    for said, found in spoiled.items():
        torch.save(found, tmp_path / "w.pth")
        with pytest.raises(ModelRefused, match=said):
            convert(tmp_path / "w.pth")


def test_an_output_that_exists_is_kept(tmp_path: Path, nano):
    torch.save(nano.state_dict(), tmp_path / "w.pth")
    (tmp_path / "w.safetensors").write_bytes(b"precious")
    with pytest.raises(OutputUnwritable):
        convert(tmp_path / "w.pth")
    assert (tmp_path / "w.safetensors").read_bytes() == b"precious"
    convert(tmp_path / "w.pth", "--overwrite")
    with pytest.raises(UsageError):
        from_pth.main([str(tmp_path / "w.pth"), "-o", str(tmp_path / "x.onnx")])
