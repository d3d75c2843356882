"""The journal of a run over several pictures: finished from half done, whenever it was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpsr_deploy.cli import main
from gpsr_deploy.errors import UsageError
from gpsr_deploy.pictures import journal
from gpsr_deploy.pictures.jobs import Job
from gpsr_deploy.pictures.journal import NAME, Journal

RECIPE = {"model": "m", "-x": "False"}


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Three pictures whose outputs do not exist yet."""
    found = []
    for name in ("a", "b", "c"):
        source = tmp_path / "in" / name
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(name.encode())
        found.append(Job(source=source, target=tmp_path / "out" / name))
    return found


def opened(jobs: list[Job], *, resume: bool = True, recipe=RECIPE) -> Journal:
    return Journal(journal.folder_of(jobs), recipe, resume=resume)


def begun(jobs: list[Job], *, overwrites: bool = False) -> Journal:
    found = opened(jobs, resume=False)
    found.start(overwrites=overwrites)
    return found


def finish(found: Journal, job: Job, content: bytes = b"made") -> None:
    found.begin(job)
    job.target.write_bytes(content)
    found.done(job)


def states(jobs: list[Job]) -> list[bool]:
    with opened(jobs) as found:
        return [found.finished(job) for job in jobs]


def test_what_was_finished_before_a_kill_is_finished(jobs: list[Job]):
    with begun(jobs) as found:
        finish(found, jobs[0])
        found.begin(jobs[1])
    assert states(jobs) == [True, False, False]


def test_an_output_that_appeared_but_could_not_be_noted_is_finished(jobs: list[Job]):
    with begun(jobs, overwrites=True) as found:
        jobs[0].target.write_bytes(b"of an earlier run")
        found.begin(jobs[0])
        jobs[0].target.write_bytes(b"of this run")
    assert states(jobs) == [True, False, False]


def test_an_output_of_an_earlier_run_that_was_to_be_replaced_is_not_finished(jobs: list[Job]):
    found = opened(jobs, resume=False)
    for job in jobs:
        job.target.write_bytes(b"of an earlier run")
    found.start(overwrites=True)
    finish(found, jobs[0])
    found.begin(jobs[1])
    found.close(complete=False)
    with opened(jobs) as found:
        assert [found.finished(job) for job in jobs] == [True, False, False]
        assert [found.ours(job) for job in jobs[1:]] == [True, True]


def test_an_input_that_changed_since_is_done_again_and_what_a_user_changed_is_kept(jobs: list[Job]):
    with begun(jobs) as found:
        for job in jobs:
            finish(found, job)
    for job in jobs[:2]:
        job.source.write_bytes(b"another picture")
    jobs[1].target.write_bytes(b"retouched by hand")
    with opened(jobs) as found:
        assert [found.finished(job) for job in jobs] == [False, True, True]
        assert found.ours(jobs[0])


def test_without_a_journal_what_exists_is_finished_and_nobodys(jobs: list[Job]):
    jobs[0].target.parent.mkdir()
    jobs[0].target.write_bytes(b"foreign")
    with opened(jobs) as found:
        assert (found.finished(jobs[0]), found.finished(jobs[1]), found.ours(jobs[0])) == (True, False, False)


def test_another_recipe_is_refused_naming_what_differs(jobs: list[Job]):
    with begun(jobs) as found:
        finish(found, jobs[0])
    before = (journal.folder_of(jobs) / NAME).read_bytes()
    with pytest.raises(UsageError, match=r"-x False.*-x True.*--overwrite") as caught:
        opened(jobs, recipe=RECIPE | {"-x": "True"})
    assert "model" not in str(caught.value)
    assert (journal.folder_of(jobs) / NAME).read_bytes() == before
    assert states(jobs)[0]  # and nobody holds it


def test_a_complete_run_leaves_none(jobs: list[Job]):
    found = begun(jobs)
    for job in jobs:
        finish(found, job)
    found.close(complete=True)
    assert not (journal.folder_of(jobs) / NAME).exists()


def test_a_second_run_at_once_keeps_none_and_disturbs_none(jobs: list[Job]):
    with begun(jobs) as first:
        with begun(jobs) as second:
            finish(second, jobs[1])
        finish(first, jobs[0])
    assert states(jobs[:1]) == [True]
    assert b"null" in (journal.folder_of(jobs) / NAME).read_bytes()


@settings(max_examples=60)
@given(cut=st.integers(0, 2000), garbage=st.binary(max_size=40))
def test_a_cut_or_garbled_journal_never_calls_an_unfinished_output_finished(jobs: list[Job], cut: int, garbage: bytes):
    for job in jobs:
        job.target.unlink(missing_ok=True)
    with begun(jobs) as found:
        finish(found, jobs[0])
        finish(found, jobs[1])
    path = journal.folder_of(jobs) / NAME
    path.write_bytes(path.read_bytes()[:cut] + garbage)
    assert states(jobs)[2] is False


@pytest.mark.parametrize("there", ["folder", "link", "fifo"])
def test_what_stands_under_its_name_is_not_followed(jobs: list[Job], tmp_path: Path, there: str):
    folder = journal.folder_of(jobs)
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"precious")
    match there:
        case "folder":
            (folder / NAME).mkdir()
        case "link":
            (folder / NAME).symlink_to(secret)
        case "fifo":
            os.mkfifo(folder / NAME)
    with begun(jobs) as found:
        finish(found, jobs[0])
    assert secret.read_bytes() == b"precious"


# --- the command ---


@pytest.fixture
def folder(tmp_path: Path, photo: np.ndarray) -> Path:
    for index in range(6):
        path = tmp_path / "shots" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), photo[index : index + 90, :120])
    return path.parent


HELD = """
import sys
import time

from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend
from gpsr_deploy.cli import main
from gpsr_deploy.pictures import infer

picture, network, pictures = infer.infer, OnnxRuntimeBackend.infer, []

def counted(*arguments, **options):
    pictures.append(1)
    return picture(*arguments, **options)

def held(self, batch):
    if len(pictures) == 3:
        print("in the third picture", flush=True)
        time.sleep(600)
    return network(self, batch)

infer.infer, OnnxRuntimeBackend.infer = counted, held
sys.exit(main())
"""


RUNTIME = ("--runtime", "onnxruntime")  # which HELD holds


def ended_in_the_third_picture(number: signal.Signals, *arguments: object) -> tuple[int, str]:
    """Exit code and stderr of `gpsr-trt infer` that this signal reaches while the network is at its third picture."""
    command = [sys.executable, "-c", HELD, "infer", *map(str, arguments), *RUNTIME]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "in the third picture\n", process.stderr.read()
            process.send_signal(number)
            said = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    return process.returncode, said


def test_a_killed_run_goes_on_where_it_ended_and_gives_the_same_files(folder: Path, tmp_path: Path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main(["infer", str(folder), "-o", str(whole), "-q", *RUNTIME]) == 0
    assert sorted(path.name for path in whole.iterdir()) == [f"{index}.png" for index in range(6)]
    out.mkdir()
    for index in range(6):
        (out / f"{index}.png").write_bytes(b"old")
    code, _ = ended_in_the_third_picture(signal.SIGKILL, folder, "-o", out, "-q", "--overwrite")
    assert code == -signal.SIGKILL
    assert [(out / f"{index}.png").read_bytes() == b"old" for index in range(6)] == [False] * 2 + [True] * 4
    before = (out / "0.png").stat().st_mtime_ns
    assert main(["infer", str(folder), "-o", str(out), "-q", "--skip-existing", *RUNTIME]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }
    assert (out / "0.png").stat().st_mtime_ns == before


def test_going_on_with_other_options_is_refused(folder: Path, tmp_path: Path, capfd):
    (folder / "junk.png").write_bytes(b"junk")
    out = tmp_path / "out"
    assert main(["infer", str(folder), "-o", str(out), "-q"]) == 8
    capfd.readouterr()
    assert main(["infer", str(folder), "-o", str(out), "-q", "--skip-existing", "-t", "72"]) == 2
    assert "--tile" in capfd.readouterr().err
    (folder / "junk.png").unlink()
    assert main(["infer", str(folder), "-o", str(out), "-q", "--skip-existing"]) == 0
    assert not (out / NAME).exists()


def test_an_interrupted_run_says_how_far_it_came(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    code, said = ended_in_the_third_picture(signal.SIGINT, folder, "-o", out)
    assert code == 130
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".png") == ["0.png", "1.png"]
    assert "interrupted; 2 of 6 pictures are finished" in said
    assert "Traceback" not in said
