"""What docs/video.md tells people to type runs as written, with a real ffmpeg; mpv, which wants a display, has a stand-in."""

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from films import environment, moving, nearest_onnx, see, write
from project import ROOT

DOCUMENT = ROOT / "docs" / "video.md"


def commands() -> list[str]:
    """Lines of the sh blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


MPV = """
[ "$*" = - ] || { echo "mpv was to play '$*'" >&2; exit 1; }
exec ffmpeg -v error -i - -f null -
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a film."""
    write(tmp_path / "film.mp4", moving(16, height=90, width=160), codec="libx264", sound=True, tick=Fraction(1, 12800))
    return tmp_path


def typed(line: str, folder: Path) -> None:
    """A line that has to end well, typed in a folder on a machine that has our programs, ffmpeg and mpv."""
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=folder, env=environment(folder, mpv=MPV), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert ended.returncode == 0, f"{line}\n{ended.stderr}"


def test_the_commands_of_video_md_run_as_written(here: Path):
    engine = nearest_onnx(here)
    lines = commands()
    assert len(lines) == 8
    for line in lines:
        typed(line.replace("gpsr-trt video ", f"gpsr-trt video --engine {engine.name} "), here)
    assert (here / "now.png").exists()
    for name, frames in (("large.mkv", 16), ("large.mp4", 16), ("part.mkv", 5), ("piped.mkv", 16), ("raw.mkv", 16), ("again.mkv", 16)):  # fmt: skip
        found = see(here / name)
        assert (found.size, len(found.frames)) == ((360, 640), frames), name
    assert see(here / "deep.mkv").pixel_format == "yuv420p10le"


@pytest.mark.slow
def test_they_run_with_the_model_that_ships(here: Path):
    for line in commands():
        typed(line, here)
