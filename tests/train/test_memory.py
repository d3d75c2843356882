"""Memory of a run: decoded pictures are not kept, and a GPU's that runs out is named."""

import weakref

import pytest
import torch
from training_runs import run

import train
from gpsr_deploy.errors import OutOfMemory


def test_what_is_decoded_is_not_kept_beside_the_patches(folder, tmp_path, monkeypatch):
    """DIV2K is 7 GB."""
    read_split, pictures = train.read_split, []

    def remembered(*arguments, **options):
        split = read_split(*arguments, **options)
        pictures.extend(weakref.ref(photograph.hr) for photograph in split.training)
        return split

    monkeypatch.setattr(train, "read_split", remembered)
    gone = []
    monkeypatch.setattr(train, "train", lambda *_, **__: gone.extend(found() is None for found in pictures))
    assert run(folder, tmp_path) == 0
    assert gone == [True, True, True]


def test_the_memory_of_a_gpu_that_runs_out_is_named(folder, tmp_path, monkeypatch):
    def full(*_batch, **_options):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(train, "train_step", full)
    with pytest.raises(OutOfMemory, match="--batch"):
        run(folder, tmp_path)
