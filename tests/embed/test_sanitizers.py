"""The whole of tests/embed over a build with sanitizers in it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import plans
import pytest
from cpp import COMPILER, OK, REFUSED, UNREADABLE, configured, mutants, mutated_models, netpbm, program, run, tiny
from project import ROOT

from gpsr_deploy import models


@pytest.mark.slow
def test_all_of_this_is_clean_under_sanitizers(tmp_path):
    """Address, leak and undefined behaviour: the library inside Python, and the programs by themselves."""
    built = configured(
        tmp_path,
        "-DGPSR_TESTS=ON",
        "-DCMAKE_INSTALL_LIBDIR=lib",
        "-DGPSR_SANITIZE=address,undefined",
        "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
    )
    preloaded = [
        built.folder / "lib" / "libgpsr-no-deepbind.so",
        *(run(COMPILER, f"-print-file-name=lib{name}.so").strip() for name in ("asan", "ubsan")),
    ]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment = alone | {
        "LD_PRELOAD": " ".join(map(str, preloaded)),
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0",  # Python's own leaks are not ours
        "GPSR_CPP_BUILD": str(built.folder),
    }
    fast = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", Path(__file__).parent]
    ended = subprocess.run(fast, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    assert "[100%]" in ended.stdout

    leaks = os.environ | {"LD_PRELOAD": str(preloaded[0]), "ASAN_OPTIONS": "detect_leaks=1:verify_asan_link_order=0"}
    lr, double, engine = tmp_path / "lr.ppm", tmp_path / "double.onnx", plans.write(tmp_path)
    lr.write_bytes(netpbm(np.zeros((70, 90, 3), np.uint8)))
    double.write_bytes(tiny().SerializeToString())
    for model, code in (
        (models.shipped(4), OK),
        (double, OK),
        (engine, REFUSED),
        (lr, REFUSED),
        (tmp_path / "none.onnx", UNREADABLE),
    ):
        ended = program(built, "--overwrite", "-t", "75", "--engine", model, lr, tmp_path / "sr.ppm", env=leaks)
        assert ended.returncode == code, ended.stderr.decode()
    for part, cases in (("sidecar", mutants(1000, seed=7)), ("onnx", list(mutated_models(1000, seed=7)))):
        sent = b"".join(len(case).to_bytes(8, "little") + case for case in cases)
        ended = program(built, part, name="gpsr-probe", input=sent, env=leaks)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert ended.stdout.count(b"\n") == 1000
