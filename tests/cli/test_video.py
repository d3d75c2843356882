"""`gpsr-trt video` as its users type it: pipes with a real ffmpeg, dead neighbours, JSON, options, previews."""

import contextlib
import fcntl
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import COMMAND, by_ffmpeg, environment, gpsr, moving, nearest_onnx, see, shrunk, write

from gpsr_deploy.cli import main
from gpsr_deploy.media.video import y4m

TYPED = shlex.join(COMMAND)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return nearest_onnx(tmp_path)


def shell(line: str, folder: Path, *, within: float = 300) -> subprocess.CompletedProcess:
    """A line as typed into bash in a folder, with ffmpeg at hand; it fails if any part of its pipes fails."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=folder, env=environment(folder),
        stdin=subprocess.DEVNULL, capture_output=True, timeout=within, check=False,
    )  # fmt: skip


def test_a_film_becomes_four_times_larger(tmp_path: Path, engine: Path):
    path = write(tmp_path / "in.mkv", moving(4), sound=True)
    found = gpsr(path, "-o", tmp_path / "out.mkv", "--engine", engine)
    assert (found.returncode, found.stdout) == (0, b"")
    assert "96x72" in found.stderr.decode()
    assert (see(tmp_path / "out.mkv").size, see(tmp_path / "out.mkv").pixel_format) == ((72, 96), "yuv420p")


def test_json_is_progress_and_then_the_result(tmp_path: Path, capfd, engine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gpsr_deploy.cli.video_report.REPORT_SECONDS", 0)
    path = write(tmp_path / "in.mkv", moving(4))
    assert main(["video", str(path), "-o", str(tmp_path / "out.mkv"), "--engine", str(engine), "--json"]) == 0
    *progress, result = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line["frame"], line["frames"]) for line in progress] == [(n, 4) for n in range(1, 5)]
    assert set(progress[0]) == {"frame", "frames", "fps", "seconds_left"}
    assert progress[-1]["seconds_left"] == 0
    assert (result["input"], result["width"], result["height"], result["scale"]) == (str(path), 96, 72, 4)
    assert (result["frames"], result["computed"], result["dropped"], result["missing"]) == (4, 4, 0, None)
    assert (result["backend"], result["precision"], result["device"]) == ("openvino", "fp32", "cpu")


def test_json_tells_of_failures(tmp_path: Path, capfd, engine: Path):
    assert (
        main(["video", str(tmp_path / "none.mkv"), "-o", str(tmp_path / "o.mkv"), "--engine", str(engine), "--json"])
        == 3
    )
    told = json.loads(capfd.readouterr().out)
    assert set(told) == {"input", "error", "code", "message", "try"}
    assert (told["code"], told["error"]) == (3, "InputUnreadable")


@pytest.mark.parametrize(
    "arguments",
    [
        ["in.mkv"],
        ["in.mkv", "-o", "-", "--resume"],
        ["in.mkv", "-o", "-", "-c", "libx264"],
        ["in.mkv", "-o", "-", "--crf", "0"],
        ["in.mkv", "-o", "out.mkv", "--raw"],
        ["in.mkv", "-o", "out.mkv", "--raw-size", "4x4"],
        ["in.mkv", "-o", "out.mkv", "-e", "novalue"],
        ["in.mkv", "-o", "out.mkv", "--max-frames", "0"],
        ["in.mkv", "-o", "out.mkv", "--preview", "p.jpg"],
        ["in.mkv", "-o", "out.mkv", "--raw-fps", "1/0"],
        ["-", "-o", "out.mkv", "--resume"],
        ["", "-o", "out.mkv"],
    ],
)
def test_contradictions_are_usage(arguments: list[str], capfd):
    assert main(["video", *arguments]) == 2
    assert capfd.readouterr().err.startswith("error[2]")


@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "yuv422p10le", "yuv444p12le", "gray10le"]
)
def test_y4m_through_pipes_between_two_ffmpegs(tmp_path: Path, engine: Path, pixel_format: str):
    write(tmp_path / "in.mkv", moving(5, height=36, width=48), rate=Fraction(5))
    line = (
        f"ffmpeg -v error -i in.mkv -pix_fmt {pixel_format} -strict -1 -f yuv4mpegpipe -"
        f" | tee in.y4m | {TYPED} - -o - --engine {engine.name} --matrix 601"
        " | tee out.y4m | ffmpeg -v error -i - -c:v ffv1 out.mkv"
    )
    ended = shell(line, tmp_path)
    assert ended.returncode == 0, ended.stderr
    before, after = frames_of(tmp_path / "in.y4m"), frames_of(tmp_path / "out.y4m")
    assert after[0].coding == before[0].coding
    assert (after[0].height, after[0].width, after[0].rate) == (144, 192, Fraction(5))
    assert len(after[1]) == len(before[1]) == 5
    for old, new in zip(before[1], after[1], strict=True):
        for a, b in zip(old.planes, shrunk(new.planes), strict=True):
            assert np.abs(a - b).mean() < 1 << (before[0].coding.bits - 8)
    found = see(tmp_path / "out.mkv")
    assert (found.size, len(found.frames)) == ((144, 192), 5)


def frames_of(path: Path):
    with path.open("rb") as file:
        source = y4m.Y4mSource(file)
        return source.format, list(source.frames())


@pytest.mark.parametrize("pixel_format", ["yuv420p", "rgb24", "gray", "yuv422p10le"])
def test_raw_video_both_ways(tmp_path: Path, engine: Path, pixel_format: str):
    line = (
        f"ffmpeg -v error -f lavfi -i testsrc2=s=48x36:r=5:d=1 -pix_fmt {pixel_format} -f rawvideo -"
        f" | {TYPED} - -o - --raw --raw-size 36x48 --raw-format {pixel_format} --raw-fps 5 --engine {engine.name}"
        f" | ffmpeg -v error -f rawvideo -s 192x144 -r 5 -pix_fmt {pixel_format} -i - -c:v ffv1 out.mkv"
    )
    ended = shell(line, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len(see(tmp_path / "out.mkv").frames) == 5


def test_a_film_into_a_pipe_and_a_pipe_into_a_film(tmp_path: Path, engine: Path):
    write(tmp_path / "in.mkv", moving(4), sound=True)
    made = f"--engine {engine.name}"
    ended = shell(f"{TYPED} in.mkv -o - {made} --json | {TYPED} - -o out.mkv {made} -c ffv1 -q", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stderr.splitlines()[-1])["frames"] == 4  # stdout carries frames
    assert see(tmp_path / "out.mkv").size == (18 * 16, 24 * 16)


def test_a_y4m_file_is_read_whatever_its_name(tmp_path: Path, engine: Path):
    by_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=48x36:r=5:d=1", "-f", "yuv4mpegpipe", tmp_path / "film")
    found = gpsr(tmp_path / "film", "-o", tmp_path / "out.mkv", "--engine", engine)
    assert found.returncode == 0, found.stderr
    assert len(see(tmp_path / "out.mkv").frames) == 5


def test_a_stream_cut_inside_a_frame_ends_with_3_after_the_frames_before(tmp_path: Path, engine: Path):
    frames = moving(3)
    content = b"YUV4MPEG2 W24 H18 F25:1 C420mpeg2\n" + b"".join(
        b"FRAME\n" + b"".join(p.tobytes() for p in planes) for planes in frames
    )
    ended = gpsr("-", "-o", "-", "--engine", engine, input=content[:-5])
    assert ended.returncode == 3
    assert b"inside frame 2" in ended.stderr
    assert ended.stdout.count(b"FRAME\n") == 2
    ended = gpsr("-", "-o", tmp_path / "out.mkv", "--engine", engine, input=content[:-5])
    assert ended.returncode == 3
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize("content", [b"", b"rubbish", b"YUV4MPEG2 W24 H18 F25:1"])
def test_rubbish_on_stdin_ends_with_3(engine: Path, content: bytes):
    ended = gpsr("-", "-o", "-", "--engine", engine, input=content)
    assert (ended.returncode, ended.stdout) == (3, b"")
    assert len(ended.stderr.splitlines()) == 1


def endless(seconds: float = 0.01) -> str:
    """A program that writes y4m for ever, a frame from time to time."""
    return (
        "import sys,time;w=sys.stdout.buffer;w.write(b'YUV4MPEG2 W24 H18 F25:1 C420mpeg2\\n')\n"
        f"while 1: w.write(b'FRAME\\n'+bytes(18*24*3//2)); w.flush(); time.sleep({seconds})"
    )


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_a_dead_reader_ends_it_with_4_and_soon(tmp_path: Path, engine: Path, seconds: float):
    line = (
        f"{shlex.join([sys.executable, '-c', endless(seconds)])} 2>/dev/null"
        f" | {TYPED} - -o - --engine {engine.name} --no-dedupe | head -c 20000 >/dev/null; echo ${{PIPESTATUS[1]}}"
    )
    ended = shell(line, tmp_path, within=60)  # by itself it has no end
    assert ended.stdout.strip() == b"4", ended.stderr
    assert b"Traceback" not in ended.stderr
    assert b"Fatal" not in ended.stderr


def test_a_dead_reader_is_noticed_while_the_writer_before_hangs(engine: Path):
    """One frame comes, is made, and cannot be written; then nothing comes any more, and the pipe stays open."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [*COMMAND, "-", "-o", "-", "--engine", str(engine)],
        stdin=reading,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(reading)
    try:
        assert process.stdout is not None
        os.write(writing, b"YUV4MPEG2 W24 H18 F25:1 C420mpeg2\n")
        assert process.stdout.readline().startswith(b"YUV4MPEG2 W96 H72")
        process.stdout.close()
        os.write(writing, b"FRAME\n" + bytes(18 * 24 * 3 // 2))
        assert process.wait(timeout=120) == 4
        assert process.stderr is not None
        assert process.stderr.read() == b""
    finally:
        os.close(writing)
        process.kill()
        process.wait()


def test_a_full_device_ends_it_with_4(tmp_path: Path, engine: Path):
    path = write(tmp_path / "in.mkv", moving(2))
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run([*COMMAND, str(path), "-o", "-", "--engine", str(engine)], stdout=full, stderr=subprocess.PIPE, check=False)  # fmt: skip
    assert ended.returncode == 4
    assert b"No space left" in ended.stderr


def test_a_terminal_shows_frames_a_second_and_the_time_left(tmp_path: Path, engine: Path):
    path = write(tmp_path / "in.mkv", moving(60, height=96, width=128))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, str(path), "-o", str(tmp_path / "out.mkv"), "--engine", str(engine)], stderr=theirs
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # which is how a terminal ends
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert process.wait(timeout=120) == 0
    assert re.search(rb"in\.mkv: .*[0-9]+/60 \[[0-9:]+<[0-9:?]+, +[0-9.?]+(frame/s|s/frame)", shown), shown


def test_a_preview_shows_both(tmp_path: Path, engine: Path):
    path = write(tmp_path / "in.mkv", moving(2))
    found = gpsr(path, "-o", tmp_path / "out.mkv", "--engine", engine, "--preview", tmp_path / "p.png")
    assert found.returncode == 0, found.stderr
    shown = cv2.imread(str(tmp_path / "p.png"))
    assert shown.shape == (72, 192, 3)
    left, right = shown[:, :96].astype(int), shown[:, 96:].astype(int)
    assert 0.5 < np.abs(left - right).mean() < 20  # bicubic is no nearest, and of the same frame
    assert np.abs(left.mean(axis=(0, 1)) - right.mean(axis=(0, 1))).max() < 3


def test_a_preview_that_cannot_be_written_does_not_end_the_film(tmp_path: Path, engine: Path):
    path = write(tmp_path / "in.mkv", moving(2))
    found = gpsr(path, "-o", tmp_path / "out.mkv", "--engine", engine, "--preview", tmp_path / "none" / "p.png")
    assert found.returncode == 0, found.stderr
    assert b"warning" in found.stderr
    assert len(see(tmp_path / "out.mkv").frames) == 2


def test_without_pyav_the_remedy_is_named(tmp_path: Path, engine: Path):
    (tmp_path / "av").mkdir()
    (tmp_path / "av" / "__init__.py").write_text("raise ImportError('hidden')")
    path = tmp_path / "in.mkv"
    write(path, moving(1))
    ended = subprocess.run(
        [*COMMAND, str(path), "-o", str(tmp_path / "out.mkv"), "--engine", str(engine)], capture_output=True, check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 5
    assert b"pip install gpsr-deploy[video]" in ended.stderr


def test_help_and_other_commands_do_not_import_pyav():
    code = "import sys; from gpsr_deploy.cli import main; main(['--help'])"
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False
    )
    assert " av" not in [line.rpartition("|")[2] for line in ended.stderr.splitlines()]
