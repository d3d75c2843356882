"""Files appear whole or not at all."""

import os

import pytest

from gpsr_deploy import atomic
from gpsr_deploy.errors import OutputUnwritable


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write(tmp_path / "x", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/x", "file/x", "folder", "n" * 300], ids=lambda name: name[:10])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, name):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputUnwritable) as caught:
        atomic.write(tmp_path / name, b"new")
    assert caught.value.path == tmp_path / name
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}
    assert (tmp_path / "file").read_bytes() == b"old"


def test_the_longest_name_that_the_system_takes_can_be_written(tmp_path):
    path = tmp_path / ("n" * 255)
    atomic.write(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a longer old file")
    atomic.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_made_with_those_above_it_or_refused(tmp_path):
    atomic.make_folder(tmp_path / "a" / "b")
    atomic.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnwritable):
        atomic.make_folder(tmp_path / "file" / "b")
