"""What docs/video.md tells people to type runs as written, with a real ffmpeg; mpv, which is not here, has a stand-in."""

import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from films import ffmpeg, moving, nearest_onnx, see, write
from project import ROOT

DOCUMENT = ROOT / "docs" / "video.md"


def commands() -> list[str]:
    """Lines of the sh blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a film, and programs under the names that the document uses."""
    write(tmp_path / "film.mp4", moving(16, height=90, width=160), codec="libx264", sound=True, tick=Fraction(1, 12800))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ffmpeg").symlink_to(ffmpeg())
    if shutil.which("mpv") is None:
        (tmp_path / "bin" / "mpv").write_text("#!/bin/sh\nexec ffmpeg -v error -i - -f null -\n")
        (tmp_path / "bin" / "mpv").chmod(0o755)
    return tmp_path


def test_the_commands_of_video_md_run_as_written(here: Path):
    path = f"{here / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    engine = nearest_onnx(here)
    typed = commands()
    assert len(typed) == 8
    for line in typed:
        faster = line.replace("gpsr-trt video ", f"gpsr-trt video --engine {engine} ")
        ended = subprocess.run(
            ["bash", "-o", "pipefail", "-c", faster], cwd=here, env=os.environ | {"PATH": path}, capture_output=True,
            text=True, check=False, timeout=120,
        )  # fmt: skip
        assert ended.returncode == 0, f"{line}\n{ended.stderr}"
    assert (here / "now.png").exists()
    for name, frames in (("large.mkv", 16), ("large.mp4", 16), ("part.mkv", 5), ("piped.mkv", 16), ("raw.mkv", 16), ("again.mkv", 16)):  # fmt: skip
        found = see(here / name)
        assert (found.size, len(found.frames)) == ((360, 640), frames), name
    assert see(here / "deep.mkv").pixel_format == "yuv420p10le"


@pytest.mark.slow
def test_they_run_with_the_model_that_ships(here: Path):
    path = f"{here / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    for line in commands():
        ended = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line], cwd=here, env=os.environ | {"PATH": path}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, f"{line}\n{ended.stderr}"
