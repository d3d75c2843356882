"""Builds that a full disk, a forbidden folder, a signal or a kill ends: the old engine is left, or the new one, or none."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import plans
import pytest
from builds import COMMAND, MODEL, SIZES, giving, install
from outcomes import files, one_line
from plans import GPUS
from project import SUPPORT

from gpsr_deploy.cli import main
from gpsr_deploy.model_files import engine as engine_file


def run(*arguments, **options):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)


def refused(result, code):
    assert (result.returncode, result.stderr.count("\n"), result.stdout) == (code, 1, ""), result.stderr
    assert result.stderr.startswith(f"error[{code}]")


@pytest.mark.parametrize("old", [False, True], ids=["new", "over an old one"])
def test_a_full_disk_is_4_and_leaves_what_was_there(old, tmp_path):
    target = tmp_path / "x.plan"
    before = engine_file.read(plans.write(tmp_path)) if old else None

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    refused(run("-o", target, "--overwrite", "-q", preexec_fn=limit), 4)
    if old:
        assert engine_file.read(target) == before
    assert files(tmp_path) == (["x.plan", "x.plan.json"] if old else [])


@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root without setpriv may write anywhere"
)
def test_a_forbidden_folder_is_4_before_the_build(tmp_path):
    """The model is none, which would be 5."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    (tmp_path / "none.onnx").write_bytes(b"none")
    drop = "-dac_override,-dac_read_search"
    plain = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"] if os.geteuid() == 0 else []
    command = [
        *plain,
        sys.executable,
        "-m",
        "gpsr_deploy",
        "build",
        str(tmp_path / "none.onnx"),
        "-o",
        str(locked / "x.plan"),
    ]
    refused(subprocess.run(command, capture_output=True, text=True, timeout=120), 4)


@pytest.mark.parametrize(
    "name", ["missing/x.plan", "/proc/x.plan", "n" * 246 + ".plan"], ids=["missing", "proc", "long"]
)
def test_a_place_where_nothing_can_be_written_is_4(name, tmp_path, capsys, monkeypatch):
    install(monkeypatch, giving(plans.plan()))
    assert main(["build", str(MODEL), "-o", str(tmp_path / name), "--gpu", ",".join(GPUS), *SIZES]) == 4
    one_line(capsys, 4)
    assert files(tmp_path) == []


SLOWLY = """
import sys, time
sys.path.insert(0, sys.argv[1])
import plans
from gpsr_deploy.backends import flavours
from gpsr_deploy.cli import main

def slow(builder):
    def build(network, config):
        print("building", file=sys.stderr, flush=True)
        if sys.argv[2] == "asleep":
            time.sleep(60)
        for _ in range(200):
            plan = builder.build_serialized_network(network, config)
            if plan is None:
                break
        return plan
    return {"build_serialized_network": build}

double = plans.with_builder(slow)
flavours.module_of = lambda runtime: double
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("how", ["asleep", "at work"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_build_within_two_seconds_and_leaves_nothing(number, code, how, tmp_path):
    """In a step of many seconds, and in one that asks now and then whether to go on."""
    (tmp_path / "x").mkdir()
    command = [sys.executable, "-c", SLOWLY, str(SUPPORT), how, *COMMAND[3:]]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "x" / "x.plan"), "-q"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline() == "building\n"
    time.sleep(0.3)
    begin = time.monotonic()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in stderr) == (code, False), stderr
    assert time.monotonic() - begin < 2
    assert files(tmp_path / "x") == []


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_old_engine_or_the_new_one(tmp_path):
    path = plans.write(tmp_path)
    finished = 0
    for delay in np.linspace(0.5, 4.0, 12):
        process = subprocess.Popen([*COMMAND, "-o", str(path), "--overwrite", "-q"])
        try:
            process.wait(timeout=delay)
            finished += 1
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        engine_file.read(path)
    assert finished
    assert run("-o", path, "--overwrite", "-q").returncode == 0
    assert files(tmp_path) == ["x.plan", "x.plan.json"]


@pytest.mark.slow
def test_two_builds_of_one_engine_leave_a_whole_one(tmp_path):
    for _ in range(3):
        processes = [
            subprocess.Popen([*COMMAND, "-o", str(tmp_path / "x.plan"), "--overwrite", "-q"]) for _ in range(2)
        ]
        assert [process.wait() for process in processes] == [0, 0]
        engine_file.read(tmp_path / "x.plan")
        assert files(tmp_path) == ["x.plan", "x.plan.json"]
