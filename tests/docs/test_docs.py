"""What the documents tell people to type: it runs as written."""

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from project import ROOT

import options
import train
from gpsr_deploy import models, samples
from gpsr_deploy.media import images


def commands(document: str) -> list[str]:
    """Lines of the sh blocks of a document."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / document).read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder in which the commands of docs/training.md can be typed: the programs, a stand-in for DIV2K, a set, a photograph."""
    for program in ("train", "export"):
        (tmp_path / program).symlink_to(ROOT / program)
    pictures = [images.read(path).pixels for path in samples.photographs()]
    (tmp_path / "DIV2K").mkdir()
    for part, count in (("train", 8), ("valid", 2)):
        with zipfile.ZipFile(tmp_path / "DIV2K" / f"DIV2K_{part}_HR.zip", "w") as archive:
            for number in range(count):
                pixels = np.ascontiguousarray(pictures[number % len(pictures)][:240, :240, ::-1])
                archive.writestr(f"DIV2K_{part}_HR/{number:04}.png", cv2.imencode(".png", pixels)[1].tobytes())
    (tmp_path / "SET").mkdir()
    cv2.imwrite(str(tmp_path / "SET" / "a.png"), pictures[0][:96, :96, ::-1])
    cv2.imwrite(str(tmp_path / "photo.png"), pictures[0][:60, :80, ::-1])
    return tmp_path


@pytest.mark.slow
def test_the_commands_of_training_md_run_as_written_but_for_the_minutes(here: Path):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    typed = [line for line in commands("training.md") if not line.startswith("torchrun")]  # which needs eight GPUs
    assert len(typed) == 9
    for line in typed:
        line = line.replace("--minutes 10", "--minutes 0.1 --every 5")
        ended = subprocess.run(line, shell=True, cwd=here, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{line}\n{ended.stderr}"
    assert images.read(here / "photo_x4.png").pixels.shape == (240, 320, 3)


def test_the_papers_recipe_of_training_md_is_what_the_paper_states():
    (line,) = [line for line in commands("training.md") if line.startswith("torchrun")]  # which needs eight GPUs
    typed = shlex.split(line.partition("train/train.py ")[2])
    wanted = options.parse(typed)
    recipe = train.recipe_of(wanted)
    assert (recipe.model, recipe.batch, recipe.patch, recipe.learning_rate) == ("gpsr", 8, 48, 1e-4)
    assert (recipe.alpha, recipe.beta, recipe.warmup, wanted.steps) == (0.1, 0.001, 1, 1_000_000)


@pytest.mark.slow
def test_the_papers_recipe_runs_on_two_cpu_processes_with_fewer_steps_and_a_smaller_network(here: Path):
    (line,) = [line for line in commands("training.md") if line.startswith("torchrun")]
    for written, smaller in (
        ("--nproc-per-node 8", "--nproc-per-node 2"), ("--model gpsr", "--model nano"), ("--steps 1000000", "--steps 4"),
        ("--every 5000", "--every 2"), ("--patch 48", "--patch 12"),
    ):  # fmt: skip
        assert written in line
        line = line.replace(written, smaller)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(line, shell=True, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert len((here / "runs" / "gpsr-x4" / "log.jsonl").read_text().splitlines()) == 2


def test_the_commands_of_engines_md_run_as_written(tmp_path: Path):
    for model in models.files():
        (tmp_path / model.name).write_bytes(model.read_bytes())
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    (tmp_path / "few").mkdir()
    images.write(tmp_path / "few" / "a.png", images.Picture(pixels=photograph()[:60, :60]))
    typed = commands("engines.md")
    assert len(typed) == 4
    for line in typed:
        line += " --images few" if line.startswith("gpsr-trt validate") else ""  # less to compute
        ended = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{line}\n{ended.stderr}"
    assert "fp16 100%" in subprocess.run(typed[2] + " --overwrite", shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stderr  # fmt: skip


def photograph() -> np.ndarray:
    """One that ships."""
    return images.read(next(iter(samples.photographs()))).pixels


def test_errors_md_is_what_the_code_raises():
    check = [sys.executable, str(ROOT / "docs" / "errors_table.py"), "--check"]
    assert subprocess.run(check, check=False).returncode == 0, "python docs/errors_table.py writes it anew"


def test_security_md_names_limits_that_are_those_of_the_code():
    """`NAME` = value, in the table of limits."""
    import importlib

    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| `([a-z_.]+)\.([A-Z_]+)` \|$", text, re.MULTILINE)
    assert len(rows) >= 10
    for stated, module, name in rows:
        value = getattr(importlib.import_module(f"gpsr_deploy.{module}"), name)
        number, _, unit = stated.strip().partition(" ")
        factor = {"": 1, "pixels": 1, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
        assert value == float(number.replace(",", "")) * factor, (module, name)
