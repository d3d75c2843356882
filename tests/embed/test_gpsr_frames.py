"""The example gpsr-frames: raw frames through pipes."""

import subprocess

import numpy as np
import pytest
from cpp import OK, SOURCE, UNREADABLE, UNWRITABLE, USAGE, doubled, program


def test_frames_go_through_one_after_the_other(built, doubling, photo):
    frames = [np.ascontiguousarray(photo[top : top + 30, :40]) for top in range(0, 200, 25)]
    sent = b"".join(frame.tobytes() for frame in frames)
    ended = program(built, doubling, "30x40", name="gpsr-frames", input=sent)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == b"".join(doubled(frame).tobytes() for frame in frames)
    for words, input, code in (
        ([doubling, "30x40"], sent[:-1], UNREADABLE), ([doubling, "30x40"], b"", OK), ([doubling, "30"], b"", USAGE), ([], b"", USAGE),
        ([doubling, "30x40x3"], b"", USAGE), (["none.onnx", "30x40"], b"", UNREADABLE),
    ):  # fmt: skip
        ended = program(built, *words, name="gpsr-frames", input=input)
        assert ended.returncode == code
        assert ended.stderr.startswith(b"error[%d] " % code) == (code != OK)
    assert len((SOURCE / "examples" / "gpsr_frames.cpp").read_text().splitlines()) <= 60


def test_a_reader_that_dies_ends_the_frames(built, doubling, photo):
    words = [built.program("gpsr-frames"), doubling, "60x60"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        with pytest.raises(BrokenPipeError):
            for _ in range(1000):
                running.stdin.write(photo[:60, :60].tobytes())
                running.stdin.flush()
        assert running.wait() == UNWRITABLE
        assert running.stderr.read().startswith(b"error[4] stdout")
