"""Caches: what was kept, or nothing; and nothing else is ever replaced by one."""

import errno
import os

import pytest

from gpsr_deploy.model_files import cache as cache_file

BODIES = [b"", b"\n", b"kernels" * 100, b"\0" * 64, b"a" * 64 + b"\n" + b"b", bytes(range(256))]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{len(body)}:{body[:5]!r}")
def test_what_was_kept_comes_back(tmp_path, body):
    cache_file.write(tmp_path / "x.cache", body)
    assert cache_file.read(tmp_path / "x.cache") == body
    assert cache_file.may_replace(tmp_path / "x.cache")
    cache_file.write(tmp_path / "x.cache", b"newer")
    assert cache_file.read(tmp_path / "x.cache") == b"newer"
    assert [path.name for path in tmp_path.iterdir()] == ["x.cache"]


def test_a_cache_cut_flipped_or_continued_anywhere_is_none(tmp_path):
    path = tmp_path / "x.cache"
    cache_file.write(path, b"kernels")
    whole = path.read_bytes()
    assert len(whole) == 64 + 1 + 7
    for place in range(len(whole)):
        path.write_bytes(whole[:place])
        assert cache_file.read(path) == b""
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            assert cache_file.read(path) == b""
    path.write_bytes(whole + b"\0")
    assert cache_file.read(path) == b""


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: path.symlink_to(path.name),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\n"),
        lambda path: path.write_bytes(b"\xff" * 1000),
    ],
    ids=["missing", "folder", "fifo", "loop", "device", "empty", "line", "garbage"],
)
def test_what_is_no_cache_gives_nothing(tmp_path, make):
    make(tmp_path / "x.cache")
    assert cache_file.read(tmp_path / "x.cache") == b""


def test_a_file_beyond_all_reason_gives_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_file, "MAX_BYTES", 70)
    cache_file.write(tmp_path / "x.cache", b"kernel")
    assert cache_file.read(tmp_path / "x.cache") == b""


@pytest.mark.parametrize("name", ["folder", "missing/x.cache", "n" * 300], ids=lambda name: name[:10])
def test_where_nothing_can_be_written_there_is_no_cache(tmp_path, name):
    (tmp_path / "folder").mkdir()
    cache_file.write(tmp_path / name, b"kernels")
    assert cache_file.read(tmp_path / name) == b""
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_full_disk_keeps_the_old_cache(tmp_path, monkeypatch):
    cache_file.write(tmp_path / "x.cache", b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    cache_file.write(tmp_path / "x.cache", b"new")
    assert cache_file.read(tmp_path / "x.cache") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.cache"]


@pytest.mark.parametrize(
    ("make", "may"),
    [
        (lambda path: None, True),
        (lambda path: path.write_bytes(b""), True),
        (lambda path: path.write_bytes(b"0" * 64 + b"\ndamaged"), True),
        (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 a photograph" * 10), False),
        (lambda path: path.write_bytes(b"0" * 64), False),
        (lambda path: path.write_bytes(b"A" * 64 + b"\n"), False),
        (lambda path: path.write_bytes(b"\n"), False),
        (lambda path: path.mkdir(), False),
        (os.mkfifo, False),
        (lambda path: path.symlink_to(path.name), False),
    ],
    ids=["missing", "empty", "damaged", "photograph", "short", "upper case", "line", "folder", "fifo", "loop"],
)
def test_only_a_cache_is_replaced_by_a_cache(tmp_path, make, may):
    make(tmp_path / "x.cache")
    assert cache_file.may_replace(tmp_path / "x.cache") == may
