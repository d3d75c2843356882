"""Mutated pictures: each gives a refusal or a whole output, within five seconds and two gibibytes, and ends no process."""

from __future__ import annotations

import hashlib
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import own_time
import pytest
from project import SUPPORT

from faults.fault import PLAIN
from faults.mutate import FORGERS, mutant
from faults.running import environment_of

LIMIT = 5.0
"""Seconds of CPU time for one picture: the machine may be busy with other things."""

ASLEEP = 120.0
"""Seconds for one that waits for something, and uses no CPU time."""

FEW, MANY = 150, 5000


class Worker:
    """The process that works on mutants, and what it says."""

    def __init__(self, kind: str, count: int, folder: Path) -> None:
        worker = Path(__file__).with_name("mutant_worker.py")
        command = [sys.executable, str(worker), kind, "0", str(count), str(folder)]
        self.process = subprocess.Popen(
            command, env=environment_of(PLAIN), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.process.stdout, selectors.EVENT_READ)
        self._rest = b""

    def lines(self, seconds: float) -> list[str] | None:
        """What it has said since, waiting for at most so long; None: it has closed stdout."""
        if not self._selector.select(seconds):
            return []
        chunk = self.process.stdout.read()
        if chunk == b"":
            return None
        *found, self._rest = (self._rest + (chunk or b"")).split(b"\n")
        return [line.decode() for line in found]

    def cpu(self) -> float:
        """Seconds of CPU time that it has used."""
        return own_time.cpu(self.process.pid)

    def end(self) -> tuple[int, str]:
        """Ends it; exit code and stderr."""
        self._selector.close()
        self.process.kill()
        _, stderr = self.process.communicate()
        return self.process.returncode, stderr.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", list(FORGERS))
def test_a_mutant_gives_a_refusal_or_a_whole_picture_and_soon(tmp_path: Path, kind: str, count: int, record_property):
    done: list[tuple[int, str, float]] = []
    worker = Worker(kind, count, tmp_path)
    begun, used = time.monotonic(), worker.cpu() + LIMIT  # the imports
    while (lines := worker.lines(0.5)) is not None:
        for line in lines:
            seed, how, code, seconds = line.split()
            done.append((int(seed), f"{how} {code}", float(seconds)))
        if lines:
            begun, used = time.monotonic(), worker.cpu()
        elif worker.cpu() - used > LIMIT or time.monotonic() - begun > ASLEEP:
            worker.end()
            pytest.fail(f"{kind} {len(done)} took more than {LIMIT} s, or waits")
    worker.process.wait(120)
    code, stderr = worker.end()
    assert (code, len(done)) == (0, count), f"{kind} {len(done)} ended the process with {code}\n{stderr[-3000:]}"
    assert stderr == ""
    counts = Counter(how for _, how, _ in done)
    slowest = max(done, key=lambda found: found[2])
    record_property("counted", f"{kind}: {count} mutants, {dict(counts)}, slowest {slowest[0]} in {slowest[2]:.2f} s")
    assert slowest[2] < LIMIT
    assert counts["enlarged 0"] >= count / 50, "so strange that none is a picture any more"
    assert counts["refused 3"] >= count / 5


def test_a_seed_gives_the_same_mutant_anywhere():
    """Else a failure could not be provoked again."""
    code = "import sys, hashlib; sys.path[:0] = sys.argv[1:]; from faults.mutate import mutant\nfor kind in ('PNG', 'TIFF'): print(hashlib.sha256(mutant(kind, 7)).hexdigest())"
    said = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parents[1]), str(SUPPORT)], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert said.stdout.split() == [hashlib.sha256(mutant(kind, 7)).hexdigest() for kind in ("PNG", "TIFF")]
