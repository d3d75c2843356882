"""Faults that take more than one process, or a look at pixels: two writers, memory that runs out, alpha, a touched installation."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from faults.process import AFTER_IMPORTS, GPU_OF
from gpsr_deploy import models
from gpsr_deploy.cli import main

COMMAND = [sys.executable, "-m", "gpsr_deploy", "infer"]


@pytest.fixture
def small_file(tmp_path: Path, photo: np.ndarray) -> Path:
    """A part of a photograph, in a folder of its own."""
    path = tmp_path / "in" / "photo.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), photo[:100, :120])
    return path


def test_two_processes_with_one_output_give_one_whole_result(small_file: Path, tmp_path: Path):
    target = tmp_path / "result.png"
    processes = [
        subprocess.Popen([*COMMAND, str(small_file), "-o", str(target), "--overwrite", "-q"]) for _ in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert cv2.imread(str(target)).shape == (400, 480, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "result.png"]


def test_two_processes_with_one_new_output_give_one_result_and_one_refusal(small_file: Path, tmp_path: Path):
    target = tmp_path / "result.png"
    processes = [
        subprocess.Popen([*COMMAND, str(small_file), "-o", str(target), "-q"], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 4], said
    assert cv2.imread(str(target)).shape == (400, 480, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "result.png"]


def test_too_little_memory_gives_smaller_tiles_or_6(photo: np.ndarray, tmp_path: Path):
    source = tmp_path / "small.png"
    cv2.imwrite(str(source), photo[:180, :180])
    end = "import sys\nfrom gpsr_deploy.cli import main\nsys.exit(main())\n"
    codes = {}
    for mebibytes in (1000, 400, 100, 20):
        target = tmp_path / f"{mebibytes}.png"
        result = subprocess.run(
            [
                *(sys.executable, "-c", AFTER_IMPORTS.format(mebibytes=mebibytes) + end),
                *("infer", str(source), "-o", str(target), "-t", "300", "--threads", "1", "-v"),
            ],
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in result.stderr
        codes[mebibytes] = result.returncode
        assert target.exists() == (result.returncode == 0)
    assert set(codes.values()) == {0, 6}
    assert (codes[1000], codes[20]) == (0, 6)


def test_halved_tiles_give_what_a_run_at_that_tile_gives(photo: np.ndarray, tmp_path: Path):
    """A GPU that takes no more than 96x96 pixels at once, and a run with tiles of the size that was found."""
    source = tmp_path / "small.png"
    cv2.imwrite(str(source), photo[:120, :150])
    end = "import sys\nfrom gpsr_deploy.cli import main\nsys.exit(main())\n"
    found = subprocess.run(
        [sys.executable, "-c", GPU_OF.format(pixels=96 * 96) + end, "infer", str(source), "-o", str(tmp_path / "halved.png"), "-t", "192", "-v"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (tile,) = {word.rstrip(",") for line in found.stderr.splitlines() if "tiles of" in line for word in line.split() if "x" in word and word[0].isdigit()}  # fmt: skip
    height, width = map(int, tile.split("x"))
    assert height * width <= 96 * 96
    subprocess.run(
        [*COMMAND, str(source), "-o", str(tmp_path / "asked.png"), "-t", tile, "-q", "--runtime", "onnxruntime"],
        check=True,
    )
    assert (tmp_path / "halved.png").read_bytes() == (tmp_path / "asked.png").read_bytes()


def test_a_shipped_model_that_was_touched_is_refused(tmp_path: Path, monkeypatch):
    folder = tmp_path / "models"
    shutil.copytree(Path(models.__file__).parent, folder)
    content = bytearray((folder / "gpsr_nano_x4.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "gpsr_nano_x4.onnx").write_bytes(content)
    monkeypatch.setattr(models, "__file__", str(folder / "__init__.py"))
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((12, 12, 3), np.uint8))
    assert main(["infer", str(tmp_path / "p.png")]) == 5


def test_flat_alpha_stays_flat_and_hidden_colours_do_not_show(tmp_path: Path, photo: np.ndarray):
    """A disk of a photograph on transparent garbage: far from its edge alpha is exactly 0 or 255."""
    y, x = np.mgrid[:60, :60]
    inside = (y - 30) ** 2 + (x - 30) ** 2 < 20**2
    colours = np.where(inside[:, :, None], photo[60:120, 80:140], (255, 0, 255))
    source, target = tmp_path / "disk.png", tmp_path / "out.png"
    cv2.imwrite(str(source), np.dstack([colours, inside * 255]).astype(np.uint8))
    assert main(["infer", str(source), "-o", str(target), "-q"]) == 0
    sr = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    radius = np.hypot(*(np.mgrid[:240, :240] - 119.5))
    assert (sr[radius < 4 * 16, 3] == 255).all()
    assert (sr[radius > 4 * 24, 3] == 0).all()
    edge = sr[(sr[:, :, 3] > 0) & (radius > 4 * 18)][:, :3].astype(int)
    magenta = np.minimum(edge[:, 0], edge[:, 2]) - edge[:, 1]
    assert magenta.max() < 80


def test_a_reader_that_goes_in_the_middle_ends_it_without_a_word_of_python(small_file: Path, tmp_path: Path):
    """As with `| head`: the bash that users have, and more lines than it reads."""
    for name in "abc":
        (tmp_path / "in" / f"{name}.png").write_bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes())
    command = shlex.join([*COMMAND, "in", "-o", "out", "-q", "--json"])
    ended = subprocess.run(["bash", "-c", f"{command} | head -n 1 | wc -l; echo ${{PIPESTATUS[0]}}"], cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    lines, code = ended.stdout.split()
    assert lines == "1"
    assert code in ("0", "4")  # 0 where all was written before head ended
    assert ended.stderr == ""
