"""Plan and sidecar are written together: full disks, deaths and other writers leave a whole engine, the old one or none."""

import dataclasses
import errno
import os
import threading

import plans
import pytest
from engine_files import refusal
from outcomes import files

from gpsr_deploy import atomic
from gpsr_deploy.errors import OutputUnwritable
from gpsr_deploy.model_files import engine as engine_file


@pytest.mark.parametrize("fails", [1, 2])
def test_a_full_disk_at_either_file_leaves_the_old_engine(engine, monkeypatch, fails):
    old = engine_file.read(engine)
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    content = plans.plan(body=b"new")
    with pytest.raises(OutputUnwritable, match="No space"):
        engine_file.write(engine, content, plans.spec_of(content))
    assert len(calls) == fails
    assert engine_file.read(engine) == old
    assert files(engine.parent) == ["x.plan", "x.plan.json"]


@pytest.mark.parametrize("name", ["x.plan", "x.plan.json"])
def test_a_folder_in_the_way_of_either_file_is_refused_and_nothing_is_written(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(OutputUnwritable):
        plans.write(tmp_path)
    assert files(tmp_path) == [name]


@pytest.mark.parametrize("name", ["missing/x.plan", f"{'n' * 246}.plan"], ids=["folder", "name"])
def test_an_engine_that_cannot_be_written_leaves_nothing(tmp_path, name):
    with pytest.raises(OutputUnwritable):
        plans.write(tmp_path, name=name)
    assert files(tmp_path) == []


def test_who_dies_between_the_two_names_leaves_no_plan(tmp_path, monkeypatch):
    publish, published = atomic.publish, []

    def die(temporary, path, *, overwrite):
        if published:
            raise KeyboardInterrupt
        published.append(path)
        publish(temporary, path, overwrite=overwrite)

    monkeypatch.setattr(atomic, "publish", die)
    with pytest.raises(KeyboardInterrupt):
        plans.write(tmp_path)
    assert files(tmp_path) == ["x.plan.json"]
    refusal(tmp_path / "x.plan", code=3)


def test_two_writers_of_one_engine_leave_a_whole_one(tmp_path, monkeypatch):
    """The first waits half way for the second, which must wait until the first is done."""
    half_way, other_done = threading.Event(), threading.Event()
    publish = atomic.publish

    def slow(temporary, path, *, overwrite):
        publish(temporary, path, overwrite=overwrite)
        if not half_way.is_set():
            half_way.set()
            other_done.wait(0.5)

    monkeypatch.setattr(atomic, "publish", slow)
    first = threading.Thread(target=plans.write, args=(tmp_path, plans.plan(body=b"first")))
    first.start()
    assert half_way.wait(20)
    plans.write(tmp_path, plans.plan(body=b"second"))
    other_done.set()
    first.join()
    assert engine_file.read(tmp_path / "x.plan").content.endswith(b"second")
    assert files(tmp_path) == ["x.plan", "x.plan.json"]


@pytest.mark.parametrize("name", ["x.plan", "x.plan.json"])
def test_what_appeared_meanwhile_is_not_replaced_unless_that_was_asked_for(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    content = plans.plan()
    with pytest.raises(OutputUnwritable, match="--overwrite"):
        engine_file.write(tmp_path / "x.plan", content, plans.spec_of(content), overwrite=False)
    assert files(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"precious"
    engine_file.write(tmp_path / "x.plan", content, plans.spec_of(content))
    assert engine_file.read(tmp_path / "x.plan").content == content


def test_a_new_sidecar_belongs_to_the_plan_that_is_there(engine):
    proved = dataclasses.replace(engine_file.read(engine).spec, parity=plans.PARITY)
    engine_file.write_sidecar(engine, proved)
    assert engine_file.read(engine).spec == proved
    other = plans.write(engine.parent, plans.plan(body=b"built meanwhile"))
    before = engine_file.read(other)
    with pytest.raises(OutputUnwritable, match="meanwhile"):
        engine_file.write_sidecar(engine, proved)
    assert engine_file.read(other) == before


@pytest.mark.parametrize(
    "damage", [lambda sidecar: sidecar.unlink(), lambda sidecar: sidecar.write_text("{")], ids=["lost", "damaged"]
)
def test_a_sidecar_that_is_lost_or_damaged_can_be_written_again(engine, damage):
    spec = engine_file.read(engine).spec
    damage(engine_file.sidecar_path(engine))
    engine_file.write_sidecar(engine, spec)
    assert engine_file.read(engine).spec == spec
