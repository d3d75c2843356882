"""One flipped bit, or a cut, anywhere in a model as it ships: refused before anything of it is used."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import plans
import pytest

from faults.running import ROOT
from gpsr_deploy import models
from gpsr_deploy.backends import open_backend
from gpsr_deploy.cli import main
from gpsr_deploy.errors import BackendUnavailable, GpsrError, InputUnreadable, ModelRefused
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.model_files import engine as engine_file

FLIPS, CUTS = 200, 20


@cache
def shipped(kind: str) -> tuple[tuple[str, bytes], ...]:
    """The files of a model, that which is damaged first, by name."""
    match kind:
        case "onnx":
            return (("m.onnx", models.shipped(4).read_bytes()),)
        case "fp16 onnx":
            return (("m.onnx", (Path(models.__file__).parent / "gpsr_nano_x4_fp16.onnx").read_bytes()),)
        case "safetensors":
            return (("m.safetensors", (ROOT / "weights" / "gpsr_nano_x4.safetensors").read_bytes()),)
        case "plan":
            plan, spec = plans.real()
            return ("m.plan", plan), ("m.plan.json", spec.to_json().encode())
    raise AssertionError(kind)


def damaged(content: bytes, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """With a bit flipped, half of them within 2 KiB of either end, where files describe themselves; and cut."""
    ends = 2048
    for number in range(FLIPS):
        place = chance.randrange(len(content))
        if number % 2:
            place = place % ends if number % 4 == 1 else len(content) - 1 - place % ends
        bit = chance.randrange(8)
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        yield f"bit {bit} of byte {place}", bytes(changed)
    for number in range(CUTS):
        length = [0, 1, len(content) - 1][number] if number < 3 else chance.randrange(len(content))
        yield f"cut to {length} bytes", content[:length]


@pytest.fixture
def nothing_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What uses a model's content fails, and not with an error of ours."""

    def used(*_: object, **__: object) -> None:
        raise AssertionError("the damaged model is used")

    import safetensors.torch

    from gpsr_deploy.backends import onnxruntime, tensorrt

    monkeypatch.setattr(onnxruntime.onnxruntime, "InferenceSession", used)
    monkeypatch.setattr(safetensors.torch, "load", used)
    monkeypatch.setattr(safetensors.torch, "load_file", used)
    monkeypatch.setattr(tensorrt, "Cuda", used)


@pytest.mark.parametrize("kind", ["onnx", "safetensors", "plan", pytest.param("fp16 onnx", marks=pytest.mark.slow)])
def test_a_flipped_bit_or_a_cut_is_refused_before_use(tmp_path: Path, kind: str, nothing_used: None, record_property):
    (name, content), *others = shipped(kind)
    path, accepted, count = tmp_path / name, [], 0
    for other, beside in others:
        (tmp_path / other).write_bytes(beside)
    for what, changed in damaged(content, random.Random(kind)):
        path.write_bytes(changed)
        count += 1
        try:
            open_backend(path, device="auto" if kind == "plan" else "cpu").close()
        except (ModelRefused, InputUnreadable) as error:
            if isinstance(error, BackendUnavailable):
                accepted.append(f"{what}: {error}")
        except AssertionError:
            accepted.append(what)
    record_property("counted", f"{kind}: {count} damaged, {count - len(accepted)} refused")
    assert not accepted


@pytest.mark.parametrize("kind", ["onnx", "safetensors", "plan"])
def test_inspect_refuses_it_with_5_in_one_line(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]):
    (name, content), *others = shipped(kind)
    for other, beside in others:
        (tmp_path / other).write_bytes(beside)
    cases = list(damaged(content, random.Random(f"inspect {kind}")))
    for what, changed in cases[:10] + cases[-5:]:
        (tmp_path / name).write_bytes(changed)
        assert main(["inspect", str(tmp_path / name)]) == 5, what
        said = capfd.readouterr()
        assert (said.out, said.err.count("\n"), said.err[:8]) == ("", 1, "error[5]"), what


@pytest.mark.parametrize("kind", ["onnx", "safetensors", "plan"])
def test_what_is_as_it_was_is_not_refused(tmp_path: Path, kind: str):
    """Else the tests above would show nothing."""
    for name, content in shipped(kind):
        (tmp_path / name).write_bytes(content)
    path = tmp_path / shipped(kind)[0][0]
    read: dict[str, Callable[[Path], object]] = {
        "onnx": lambda path: open_backend(path, device="cpu"),
        "safetensors": checkpoint_file.load,
        "plan": engine_file.read,
    }
    try:
        assert read[kind](path)
    except GpsrError as error:
        pytest.fail(str(error))
