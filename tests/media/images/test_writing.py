"""Writing is all or nothing: full disks, other writers, interrupts and kills leave the old file or the new one."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from picture_files import EVERY_SUFFIX, PHOTO, SRGB, stored
from picture_process import python

from gpsr_deploy import atomic
from gpsr_deploy.errors import OutputUnwritable
from gpsr_deploy.media import images
from gpsr_deploy.media.images import Picture


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("suffix", EVERY_SUFFIX)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99, "all but one byte"])
def test_after_a_full_disk_the_old_file_is_intact(tmp_path: Path, suffix: str, share: float | str) -> None:
    path = tmp_path / f"x{suffix}"
    images.write(path, Picture(pixels=PHOTO, icc=SRGB))
    old = path.read_bytes()
    with disk_of(len(old) - 1 if isinstance(share, str) else int(len(old) * share)):
        with pytest.raises(OutputUnwritable):
            images.write(path, Picture(pixels=PHOTO, icc=SRGB), overwrite=True)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]


def test_a_full_disk_before_the_work_leaves_nothing(tmp_path: Path) -> None:
    with disk_of(10), pytest.raises(OutputUnwritable, match="(?i)large"):
        images.write(tmp_path / "x.png", Picture(pixels=PHOTO))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
def test_nothing_is_replaced_unasked(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as FAT answers

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tmp_path / "x.png"
    images.write(path, Picture(pixels=PHOTO))
    assert np.array_equal(images.read(path).pixels, PHOTO)
    with pytest.raises(OutputUnwritable, match="exists"):
        images.write(path, Picture(pixels=PHOTO[::-1]))
    assert np.array_equal(images.read(path).pixels, PHOTO)
    images.write(path, Picture(pixels=PHOTO[::-1]), overwrite=True)
    assert np.array_equal(images.read(path).pixels, PHOTO[::-1])
    assert os.listdir(tmp_path) == [path.name]


def test_several_writers_of_one_file_leave_one_whole_result(tmp_path: Path) -> None:
    path, candidates = tmp_path / "x.png", [np.full((300, 200, 3), value, np.uint8) for value in range(8)]
    writers = [
        threading.Thread(target=images.write, args=(path, Picture(pixels=pixels)), kwargs={"overwrite": True})
        for pixels in candidates
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert any(np.array_equal(images.read(path).pixels, pixels) for pixels in candidates)
    assert os.listdir(tmp_path) == [path.name]


LONG_WRITE = """
noise = np.frombuffer(np.random.default_rng(0).bytes(3 * 8000**2), np.uint8).reshape(8000, 8000, 3)
print("ready", flush=True)
try: images.write(Path(sys.argv[1]), images.Picture(pixels=noise))
except KeyboardInterrupt: sys.exit(130)
"""


@contextmanager
def writing(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of a write that takes seconds."""
    process = python(LONG_WRITE, path)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 20
        while not any(entry.stat().st_size for entry in path.parent.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [entry.suffix for entry in path.parent.iterdir()] == [".tmp"]
        yield process
    finally:
        process.kill()
        process.communicate()


def test_an_interrupt_stops_the_encoder_and_leaves_nothing(tmp_path: Path) -> None:
    with writing(tmp_path / "x.png") as process:
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert time.monotonic() - begin < 2
        assert process.stderr is not None and process.stderr.read() == ""
    assert os.listdir(tmp_path) == []


def test_a_kill_leaves_only_what_the_next_run_clears(tmp_path: Path) -> None:
    with writing(tmp_path / "x.png") as process:
        assert atomic.clean_stale(tmp_path) == ()  # a living writer keeps its file
        process.kill()
        process.wait()
        (stray,) = tmp_path.iterdir()
        assert atomic.clean_stale(tmp_path) == (stray,)
    assert os.listdir(tmp_path) == []


def test_clean_stale_knows_its_own_files(tmp_path: Path) -> None:
    foreign = [".x.png.tmp", ".x.png.12-ABCDEF01.tmp", ".x.png.12-abcdef0.tmp", "x.png.12-abcdef01.tmp", ".x.png.-abcdef01.tmp",
               ".x.png.12-abcdef01.tmp.png", "12-abcdef01.tmp", ".x.png.1a-abcdef01.tmp"]  # fmt: skip
    for name in foreign:
        stored(tmp_path, b"mine", name)
    (tmp_path / ".folder.12-abcdef01.tmp").mkdir()
    (tmp_path / ".link.12-abcdef01.tmp").symlink_to(foreign[0])
    os.mkfifo(tmp_path / ".fifo.12-abcdef01.tmp")
    before = sorted(os.listdir(tmp_path))
    ours = [
        stored(tmp_path, b"half", f".{name}.12-abcdef01.tmp")
        for name in ("x.png", "new\nline.png", os.fsdecode(b"\xff.png"))
    ]
    assert sorted(atomic.clean_stale(tmp_path)) == sorted(ours)
    assert sorted(os.listdir(tmp_path)) == before
    assert atomic.clean_stale(tmp_path / "missing") == ()


def test_a_writer_whose_new_file_is_cleared_before_it_is_locked_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clear_first(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        assert len(atomic.clean_stale(tmp_path)) == 1
        fcntl.flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", clear_first)
    images.write(tmp_path / "x.png", Picture(pixels=PHOTO))
    assert os.listdir(tmp_path) == ["x.png"]
