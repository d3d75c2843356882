"""What reading uses up: little more than the result, no descriptor, and without memory a plain error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import EIGHT_BIT, PHOTO, pil, stored
from picture_process import output_of, python

from gpsr_deploy.errors import OutOfMemory
from gpsr_deploy.media import images
from gpsr_deploy.media.images import Picture


def test_no_memory_for_the_pixels_is_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", empty)
    with pytest.raises(OutOfMemory):
        images.read(stored(tmp_path, pil(PHOTO, "PNG")))


def test_reading_leaves_no_descriptor_and_no_frame_behind(tmp_path: Path) -> None:
    """In a process of its own: libvips holds a pipe for each picture lately written, and lets go of it while others are read."""
    for name, blob in EIGHT_BIT.items():
        stored(tmp_path, blob, name)
    code = """
before = len(os.listdir("/proc/self/fd"))
paths = sorted(Path(sys.argv[1]).iterdir())
for path in paths: images.read(path)
print(len(paths), len(os.listdir("/proc/self/fd")) - before)
"""
    assert output_of(python(code, tmp_path)).split() == [str(len(EIGHT_BIT)), "0"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_reading_holds_little_more_than_the_result(tmp_path: Path, suffix: str) -> None:
    """The decoder's rows (20 to 30 MiB at this width) and, for JPEG, the file: no second copy of 70 MiB."""
    path = tmp_path / f"large{suffix}"
    images.write(path, Picture(pixels=np.tile(PHOTO, (120, 40, 1))))
    code = """
def peak(): return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
before = peak()
pixels = images.read(Path(sys.argv[1])).pixels
print(pixels.nbytes / 2**20, peak() - before)
"""
    result, total = map(float, output_of(python(code, path)).split())
    in_file = path.stat().st_size / 2**20 if suffix == ".jpg" else 0
    assert total < result + in_file + 40 < 2 * result + in_file
