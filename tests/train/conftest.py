"""Pictures to train on, a run that nothing interrupts, and what runs change of the process put back."""

import signal

import cv2
import pytest
import torch
from training_runs import run


@pytest.fixture(scope="session")
def folder(photo, tmp_path_factory):
    """Four small pictures; LR is 12 x 15."""
    path = tmp_path_factory.mktemp("pictures")
    for name, top in zip("abcd", (0, 60, 120, 190), strict=True):
        cv2.imwrite(str(path / f"{name}.png"), photo[top : top + 50, top : top + 62, ::-1])
    return path


@pytest.fixture(autouse=True)
def globals_restored():
    """A run takes SIGTERM and sets how many threads torch has."""
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    yield
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def uninterrupted(folder, tmp_path_factory):
    """Where a run of six steps ended. Not to be changed: to go on from it is to be refused, or to find it finished."""
    out = tmp_path_factory.mktemp("run")
    assert run(folder, out) == 0
    return out
