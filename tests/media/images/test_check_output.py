"""An output is checked before the work: its suffix, size and place, the free disk, and what its format cannot hold."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from picture_files import EVERY_SUFFIX, LOSSLESS, PHOTO, stored
from skimage import data

from gpsr_deploy.errors import OutputUnwritable, UsageError
from gpsr_deploy.media import images
from gpsr_deploy.media.images import Picture


def checked(
    path: Path, *, height: int = 61, width: int = 83, has_alpha: bool = False, depth: images.Depth = 8, **more: bool
) -> tuple[str, ...]:
    return images.check_output(
        path, height=height, width=width, has_alpha=has_alpha, depth=depth, **{"overwrite": False, **more}
    )


@pytest.mark.parametrize("name", ["x", "x.bmp", "x.png.txt", "x.pdf", ".png"])
def test_an_unknown_suffix_is_a_usage_error(tmp_path: Path, name: str) -> None:
    for call in (checked, lambda path: images.write(path, Picture(pixels=PHOTO))):
        with pytest.raises(UsageError):
            call(tmp_path / name)


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16383), (".jpg", 65500)])
@pytest.mark.parametrize("upright", [True, False])
def test_the_longest_side_is_that_of_the_encoder(tmp_path: Path, suffix: str, side: int, upright: bool) -> None:
    path = tmp_path / f"x{suffix}"
    for length in (side, side + 1):
        pixels = np.zeros((length, 1) if upright else (1, length), np.uint8)
        height, width = pixels.shape
        if length == side:
            checked(path, height=height, width=width)
            images.write(path, Picture(pixels=pixels))
            assert images.probe(path).height == height
        else:
            with pytest.raises(OutputUnwritable):
                checked(path, height=height, width=width, overwrite=True)
            with pytest.raises(OutputUnwritable):
                images.write(path, Picture(pixels=pixels), overwrite=True)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_output_pixels_have_a_limit(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 2**60))
    checked(tmp_path / f"x{suffix}", height=1 << 17, width=1 << 17)
    with pytest.raises(OutputUnwritable):
        checked(tmp_path / f"x{suffix}", height=1 << 17, width=(1 << 17) + 1)


@pytest.mark.parametrize("suffix", EVERY_SUFFIX)
def test_a_full_disk_is_known_before_the_work(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = data.astronaut()
    path = tmp_path / f"x{suffix}"
    images.write(path, Picture(pixels=photo))
    needed = path.stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, needed))
    checked(path, height=photo.shape[0], width=photo.shape[1], overwrite=True)  # what fits is not refused
    with pytest.raises(OutputUnwritable):
        checked(path, height=photo.shape[0] * 8, width=photo.shape[1] * 8, overwrite=True)


def test_the_place_is_tried_before_the_work(tmp_path: Path) -> None:
    file = stored(tmp_path, b"old", "file.png")
    folder = tmp_path / "folder.png"
    folder.mkdir()
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "full.png").symlink_to("/dev/full")
    impossible = [
        "folder.png",
        "fifo.png",
        "full.png",
        "dangling.png",
        "missing/x.png",
        "file.png/x.png",
        "x" * 300 + ".png",
    ]
    before = sorted(os.listdir(tmp_path))
    for name in impossible:
        with pytest.raises(OutputUnwritable):
            checked(tmp_path / name, overwrite=True)
    with pytest.raises(OutputUnwritable, match="exists"):
        checked(file)
    assert checked(file, overwrite=True) == checked(tmp_path / "new.png") == ()
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("suffix", "picture", "warnings"),
    [
        (".png", {"has_alpha": True, "depth": 16, "has_exif": True}, []),
        (".tif", {"has_alpha": True, "depth": 16}, []),
        (".tif", {"has_exif": True}, ["EXIF"]),
        (".webp", {"has_alpha": True, "has_exif": True}, []),
        (".webp", {"depth": 16}, ["rounded"]),
        (".jpg", {"has_exif": True}, []),
        (".jpg", {"has_alpha": True, "depth": 16}, ["white", "rounded"]),
    ],
)
def test_what_a_format_cannot_hold_is_said(tmp_path: Path, suffix: str, picture: dict, warnings: list[str]) -> None:
    said = checked(tmp_path / f"x{suffix}", **picture)
    assert len(said) == len(warnings)
    assert all(word in line for word, line in zip(warnings, said, strict=True))
