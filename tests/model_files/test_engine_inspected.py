"""Engines are judged and shown without TensorRT, CUDA or a GPU: nothing is loaded for it."""

import dataclasses
import hashlib
import json
import re
import subprocess
import sys

import plans
import pytest
from engine_files import edit
from plans import GPUS

from gpsr_deploy.cli import main
from gpsr_deploy.model_files import engine as engine_file

BLOCKED = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorrt", "tensorrt_rtx", "cuda"):
            raise ImportError(f"{name} was asked for")
sys.meta_path.insert(0, Blocked())
def require_none_loaded():
    loaded = {name.partition(".")[0] for name in sys.modules} & {"tensorrt", "tensorrt_rtx", "cuda", "torch", "onnx"}
    assert not loaded, loaded
"""


def python(code, *arguments):
    """Runs `code` where no TensorRT and no CUDA can be imported."""
    command = [sys.executable, "-c", BLOCKED + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_engines_are_read_and_judged_without_tensorrt_or_cuda(engine):
    result = python(
        "from pathlib import Path\n"
        "from gpsr_deploy.model_files import engine as engine_file\n"
        "from gpsr_deploy.errors import ModelRefused\n"
        "spec = engine_file.read(Path(sys.argv[1])).spec\n"
        "try:\n"
        "    engine_file.require_runnable(spec, version='1.7.1.116', compute_capability='9.0')\n"
        "except ModelRefused as error:\n"
        "    print(error)\n"
        "require_none_loaded()\n",
        engine,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("error[5] the engine was built for GPUs of")


@pytest.mark.parametrize("sidecar", [True, False])
def test_inspect_tells_of_a_plan_without_tensorrt(engine, sidecar):
    if not sidecar:
        engine_file.sidecar_path(engine).unlink()
    code = "from gpsr_deploy.cli import main\ncode = main(['inspect', sys.argv[1], '--json'])\nrequire_none_loaded()\nsys.exit(code)"
    result = python(code, engine)
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["kind"], found["runtime"], found["runtime_version"]) == ("plan", "tensorrt-rtx", "1.7.1.116")
    assert found["compute_capabilities"] == list(GPUS)
    assert found["sha256"] == hashlib.sha256(plans.plan()).hexdigest()


@pytest.mark.parametrize("damage", ["cut", "flipped", "sidecar", "no plan"])
def test_infer_and_inspect_refuse_a_damaged_engine_before_anything_is_loaded(engine, damage):
    content = bytearray(engine.read_bytes())
    if damage == "sidecar":
        edit(engine, plan_sha256="00" * 32)
    elif damage == "no plan":
        engine.write_bytes(b"PK\3\4")
    elif damage == "cut":
        engine.write_bytes(content[:-1])
    else:
        content[-1] ^= 1
        engine.write_bytes(content)
    for command in (["inspect", str(engine)], ["infer", "x.png", "--engine", str(engine)]):
        code = f"from gpsr_deploy.cli import main\ncode = main({command!r})\nrequire_none_loaded()\nsys.exit(code)"
        result = python(code)
        assert (result.returncode, result.stdout) == (5, ""), result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith(f"error[5] {engine}")


def test_inspect_shows_every_fact_of_an_engine(tmp_path, capsys):
    path = plans.write(tmp_path, parity=plans.PARITY)
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        *("kind", "name", "scale", "params", "macs_720p", "halo", "multiple_of", "tiling", "dtype", "checkpoint_sha256"),
        *("sha256", "checksum", "runtime", "runtime_version", "compute_capabilities", "profile", "weights", "onnx_sha256", "parity"),
    ]  # fmt: skip
    assert found["profile"] == {"min": [3, 3], "opt": [48, 60], "max": [96, 120], "batch": 2}
    assert found["parity"] == dataclasses.asdict(plans.PARITY)
    assert main(["inspect", str(path)]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (shown["profile.max"], shown["parity.gpu"]) == ("96x120", "NVIDIA Test 4090")
    assert shown["compute_capabilities"] == "8.6, 8.9, 12.0"


def test_inspect_says_that_an_engine_was_not_compared_yet(engine, capsys):
    assert main(["inspect", str(engine)]) == 0
    assert re.search(r"^parity +not compared yet$", capsys.readouterr().out, re.MULTILINE)


def test_inspect_tells_of_a_foreign_plan_what_its_header_tells(tmp_path, capsys):
    (tmp_path / "x.engine").write_bytes(plans.plan(magic=b"ftrt"))
    assert main(["inspect", str(tmp_path / "x.engine"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["runtime"], found["compute_capabilities"]) == (None, "tensorrt", None)
