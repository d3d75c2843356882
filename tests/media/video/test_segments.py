"""Segments: what a killed run leaves is whole, belongs to one request, and gives the frames of a run that was not killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from film_runs import assert_same_frames, made
from films import Nearest, gpsr, moving, nearest_onnx, see, write
from hypothesis import given
from hypothesis import strategies as st
from own_time import OwnTime

from gpsr_deploy.errors import ModelRefused, OutputUnwritable, UsageError
from gpsr_deploy.media.video import segments
from gpsr_deploy.media.video.segments import Journal
from gpsr_deploy.media.video.times import decode_times


@given(st.lists(st.integers(-1000, 1000), unique=True, max_size=30))
def test_packets_are_decoded_in_order_and_before_they_are_shown(shown: list[int]):
    times = decode_times(shown)
    assert len(times) == len(shown)
    assert all(before < after for before, after in zip(times, times[1:], strict=False))
    assert all(decoded <= time for decoded, time in zip(times, shown, strict=True))


@given(st.lists(st.integers(-1000, 1000), unique=True, max_size=30))
def test_packets_in_order_are_decoded_when_they_are_shown(shown: list[int]):
    assert decode_times(sorted(shown)) == sorted(shown)


def interrupted(folder: Path, *, at: int = 6, height: int = 18, width: int = 24, **more) -> tuple[Path, Path]:
    """A film of nine frames, and the output of a run that failed at frame `at`, with segments of two."""
    path = write(folder / "in.mkv", moving(9, height=height, width=width), sound=True)
    with pytest.raises(RuntimeError):
        made(path, folder / "out.mkv", backend=Nearest(failing=at), segment_frames=2, **more)
    return path, folder / "out.mkv"


def kept(target: Path) -> list[str]:
    return sorted(p.name for p in segments.folder_of(target).iterdir())


def test_resume_computes_only_what_is_missing_and_gives_the_same(tmp_path: Path):
    path, target = interrupted(tmp_path)
    before = len([name for name in kept(target) if name.endswith(".mkv")])
    assert before >= 1
    backend = Nearest()
    outcome, *_ = made(path, target, backend=backend, segment_frames=2, resume=True)
    assert len(backend.batches) == 9 - 2 * before
    assert outcome.frames == 9
    made(path, tmp_path / "whole.mkv", segment_frames=2)
    assert_same_frames(target, tmp_path / "whole.mkv")
    assert target.read_bytes()[-1000:] != b""
    assert see(target).packets == see(tmp_path / "whole.mkv").packets
    assert sorted(tmp_path.iterdir()) == sorted([path, target, tmp_path / "whole.mkv"])


def test_resume_with_nothing_to_resume_begins(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(3))
    assert made(path, tmp_path / "out.mkv", resume=True)[0].made == 3


def test_without_resume_nothing_is_lost_in_silence(tmp_path: Path):
    path, target = interrupted(tmp_path)
    before = kept(target)
    with pytest.raises(OutputUnwritable, match="finished frames") as caught:
        made(path, target, segment_frames=2)
    assert "--resume" in caught.value.remedy
    assert kept(target) == before
    assert made(path, target, segment_frames=2, overwrite=True)[0].made == 9


def test_a_run_that_finished_no_segment_leaves_nothing(tmp_path: Path):
    path, target = interrupted(tmp_path, at=1)
    assert list(tmp_path.iterdir()) == [path]
    assert made(path, target)[0].made == 9


@pytest.mark.parametrize("damage", ["cut", "flipped", "no record", "record of rubbish", "gone"])
def test_segments_that_are_damaged_are_made_again(tmp_path: Path, damage: str):
    path, target = interrupted(tmp_path, at=8)
    folder = segments.folder_of(target)
    first, record = folder / "00001.mkv", folder / "00001.json"
    content = first.read_bytes()
    if damage == "cut":
        first.write_bytes(content[:-1])
    elif damage == "flipped":
        first.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif damage == "no record":
        record.unlink()
    elif damage == "gone":
        first.unlink()
    else:
        record.write_text('{"pts": [1, "2"], "sha256": 3}')
    backend = Nearest()
    made(path, target, backend=backend, segment_frames=2, resume=True)
    assert len(backend.batches) == 7
    made(path, tmp_path / "whole.mkv", segment_frames=2)
    assert_same_frames(target, tmp_path / "whole.mkv")


@pytest.mark.parametrize(
    "content",
    ["", "null", "[]", "{}", '{"version": 2}', '{"version": 1, "binding": [], "tile": [1, 2], "halo": 0}', "[" * 10**5],
)
def test_journals_that_are_none_of_ours_are_refused(tmp_path: Path, content: str):
    path, target = interrupted(tmp_path)
    (segments.folder_of(target) / segments.JOURNAL).write_text(content)
    with pytest.raises(OutputUnwritable, match="journal"):
        made(path, target, segment_frames=2, resume=True)


def test_two_runs_do_not_share_an_output(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(2))
    with segments.locked(segments.folder_of(tmp_path / "out.mkv")):
        with pytest.raises(OutputUnwritable, match="another run"):
            made(path, tmp_path / "out.mkv")
    assert made(path, tmp_path / "out.mkv")[0].made == 2


def test_another_engine_is_a_refused_model_and_anything_else_bad_usage(tmp_path: Path):
    journal = Journal(binding={"engine": "a", "input": "b"}, tile=(1, 1), halo=0)
    segments.require_same(journal, {"engine": "a", "input": "b"}, tmp_path)
    with pytest.raises(ModelRefused, match="engine a, this one has c"):
        segments.require_same(journal, {"engine": "c", "input": "b"}, tmp_path)
    with pytest.raises(UsageError, match="input b, this one has c"):
        segments.require_same(journal, {"engine": "a", "input": "c"}, tmp_path)
    with pytest.raises(UsageError, match="--tile"):
        segments.require_same(journal, {"engine": "a", "input": "b", "--tile": "9"}, tmp_path)


def test_the_tile_of_the_first_run_is_that_of_the_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, target = interrupted(tmp_path, height=60, width=80)
    journal, _ = segments.read(segments.folder_of(target))
    assert journal.tile == (60, 80)
    monkeypatch.setattr(
        "gpsr_deploy.upscaling.upscale.WORKING_MEMORY", 1
    )  # would choose the smallest tiles that there are
    backend = Nearest()
    made(path, target, backend=backend, segment_frames=2, resume=True)
    assert {batch.shape[2:] for batch in backend.batches} == {(60, 80)}


def test_a_folder_of_that_name_with_other_files_keeps_them(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(2))
    (tmp_path / "out.mkv.segments").mkdir()
    (tmp_path / "out.mkv.segments" / "mine.mkv").write_bytes(b"mine")
    made(path, tmp_path / "out.mkv", overwrite=True)
    assert kept(tmp_path / "out.mkv") == ["mine.mkv"]


def test_a_damaged_journal_is_no_obstacle_to_beginning_anew(tmp_path: Path):
    path, target = interrupted(tmp_path)
    (segments.folder_of(target) / segments.JOURNAL).write_text("{")
    assert made(path, target, segment_frames=2, overwrite=True)[0].made == 9


def test_fingerprints_tell_films_apart(tmp_path: Path):
    content = np.random.default_rng(0).bytes(5 << 20)
    (tmp_path / "a").write_bytes(content)
    first = segments.fingerprint(tmp_path / "a")
    for changed in (content[:-1], b"x" + content[1:], content[: 5 << 19] + b"x" + content[(5 << 19) + 1 :]):
        (tmp_path / "b").write_bytes(changed)
        assert segments.fingerprint(tmp_path / "b") != first


AT_WORK = """
import sys

from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend
from gpsr_deploy.cli import main

network, most, given = OnnxRuntimeBackend.infer, int(sys.argv.pop(1)), 0

def infer(self, batch):
    global given
    given += len(batch)
    while given > most:
        network(self, batch)
    return network(self, batch)

OnnxRuntimeBackend.infer = infer
sys.exit(main())
"""
"""A command whose network is at work for ever once it has had so many frames: it cannot end before it is killed."""


RUNTIME = ("--runtime", "onnxruntime")  # which AT_WORK keeps at work


def at_work(frames: int, *arguments: object) -> subprocess.Popen:
    """`gpsr-trt video` in a process of its own, that makes so many frames and goes on with the next."""
    command = [sys.executable, "-c", AT_WORK, str(frames), "video", *map(str, arguments), *RUNTIME]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def kill_when(process: subprocess.Popen, ready, number: int = signal.SIGKILL) -> None:
    """Kills the process as soon as `ready()` is true."""
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, number)


def test_after_kill_9_resume_gives_the_film_of_a_run_that_was_not_killed(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(40, height=36, width=48), sound=True)
    target, folder = tmp_path / "out.mkv", segments.folder_of(tmp_path / "out.mkv")
    arguments = [path, "-o", target, "--segment-frames", "6", "--threads", "1", "--json"]
    with at_work(20, *arguments) as process:
        kill_when(process, lambda: (folder / "00001.json").exists())
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()
    refused = gpsr(*arguments, *RUNTIME)
    assert refused.returncode == 4
    resumed = gpsr(*arguments, "--resume", *RUNTIME)
    assert resumed.returncode == 0, resumed.stderr
    result = json.loads(resumed.stdout.splitlines()[-1])
    assert result["frames"] == 40
    assert result["made"] <= 40 - 12
    whole = gpsr(path, "-o", tmp_path / "whole.mkv", "--segment-frames", "6", "--threads", "1", *RUNTIME)
    assert whole.returncode == 0, whole.stderr
    assert_same_frames(target, tmp_path / "whole.mkv")
    assert see(target).packets == see(tmp_path / "whole.mkv").packets
    assert sorted(tmp_path.iterdir()) == sorted([path, target, tmp_path / "whole.mkv"])


def test_resume_with_another_input_or_engine_or_option_is_refused_with_the_difference(tmp_path: Path):
    path, other = (write(tmp_path / f"{name}.mkv", moving(25, seed=seed)) for seed, name in enumerate(("in", "other")))
    engine, dark = nearest_onnx(tmp_path), nearest_onnx(tmp_path, brightness=0.5)
    target = tmp_path / "out.mkv"
    arguments = ["-o", target, "--segment-frames", "4"]
    with at_work(12, path, *arguments, "--engine", engine) as process:
        kill_when(process, lambda: (segments.folder_of(target) / "00000.json").exists())
    assert not target.exists()
    for more, code, word in (
        ([other, "--engine", engine], 2, "input"),
        ([path, "--engine", dark], 5, "engine"),
        ([path, "--engine", engine, "--crf", "40"], 2, "encoding"),
        ([path, "--engine", engine, "--start-frame", "1"], 2, "--start-frame"),
    ):
        refused = gpsr(*more, *arguments, "--resume", *RUNTIME)
        assert refused.returncode == code, refused.stderr
        assert word in refused.stderr.decode()
        assert len(refused.stderr.splitlines()) == 1
    assert gpsr(path, "--engine", engine, *arguments, "--resume", *RUNTIME).returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_within_two_seconds_and_finished_segments_stay(tmp_path: Path, number: int, code: int):
    path = write(tmp_path / "in.mkv", moving(25, height=36, width=48))
    folder = segments.folder_of(tmp_path / "out.mkv")
    with at_work(12, path, "-o", tmp_path / "out.mkv", "--segment-frames", "4") as process:
        with OwnTime(process.pid) as own:
            kill_when(process, lambda: (folder / "00000.json").exists(), number)
            begun = own.seconds
            said = process.communicate(timeout=120)[1]
    assert process.returncode == code
    assert own.seconds - begun < 3.5  # two, and some for what watches it to be exact enough
    assert b"Traceback" not in said
    assert (folder / "00000.mkv").exists()
    assert not (tmp_path / "out.mkv").exists()
