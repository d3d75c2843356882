"""The timing cache, which only TensorRT has: kept from build to build, and nothing else is ever replaced by one."""

import shutil
from types import SimpleNamespace

import plans
import pytest
from builds import MODEL, SIZES, made
from outcomes import files, one_line
from plans import Changed

from gpsr_deploy.cli import main
from gpsr_deploy.errors import ModelRefused
from gpsr_deploy.model_files import cache as cache_file


class TimingCaches:
    """A double of TensorRT with timing caches, over TensorRT-RTX; `takes` says which content it accepts."""

    def __init__(self, takes=lambda content: True, kept=b"timings"):
        self.began_with = []

        def create(content):
            self.began_with.append(content)
            return SimpleNamespace(serialize=lambda: kept, content=content)

        double = plans.with_config(
            lambda _: {
                "create_timing_cache": create,
                "set_timing_cache": lambda cache, ignore: not ignore and takes(cache.content),
            }
        )
        self.trt = Changed(
            double,
            Builder=lambda log: Changed(
                double.Builder(log),
                build_serialized_network=lambda network, config: plans.plan(magic=b"ftrt"),
            ),
        )

    def build(self, model, path):
        return made(model, self.trt, runtime="tensorrt", compute_capabilities=("8.9",), timing_cache=path)


def test_timings_are_kept_from_build_to_build(model, tmp_path):
    path = tmp_path / "timings"
    caches = TimingCaches()
    _, spec = caches.build(model, path)
    assert (spec.runtime, spec.compute_capabilities) == ("tensorrt", ("8.9",))
    assert cache_file.read(path) == b"timings"
    caches.build(model, path)
    assert caches.began_with == [b"", b"timings"]


def test_damaged_timings_and_those_of_another_gpu_are_made_anew(model, tmp_path):
    path = tmp_path / "timings"
    cache_file.write(path, b"others")
    path.write_bytes(path.read_bytes()[:-1])
    caches = TimingCaches()
    caches.build(model, path)
    assert caches.began_with == [b""]
    cache_file.write(path, b"others")
    caches = TimingCaches(takes=lambda content: content != b"others")
    caches.build(model, path)
    assert caches.began_with == [b"others", b""]
    assert cache_file.read(path) == b"timings"


def test_where_no_timings_are_taken_or_given_that_is_said_or_harmless(model, tmp_path):
    with pytest.raises(ModelRefused, match="no timing cache"):
        TimingCaches(takes=lambda content: False).build(model, tmp_path / "timings")
    TimingCaches(kept=None).build(model, tmp_path / "timings")
    assert files(tmp_path) == []


def test_timings_that_cannot_be_kept_do_not_fail_the_build(model, tmp_path):
    plan, _ = TimingCaches().build(model, tmp_path / "missing" / "timings")
    assert plan == plans.plan(magic=b"ftrt")


@pytest.mark.parametrize("name", ["m.onnx", "x.plan", "x.plan.json", "photo.jpg"])
def test_a_timing_cache_replaces_nothing_that_is_none(name, tmp_path, capsys, monkeypatch):
    shutil.copy(MODEL, tmp_path / "m.onnx")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" * 99)
    monkeypatch.chdir(tmp_path)
    arguments = ["build", "m.onnx", "-o", "x.plan", "--timing-cache", f"./{name}", "--runtime", "tensorrt", *SIZES]
    assert main(arguments) == 2
    one_line(capsys, 2)
    assert files(tmp_path) == ["m.onnx", "photo.jpg"]


def test_a_timing_cache_for_the_other_tensorrt_is_2(tmp_path, capsys):
    command = ["build", str(MODEL), "-o", str(tmp_path / "x.plan"), "--timing-cache", str(tmp_path / "t"), *SIZES]
    assert main([*command, "--runtime", "tensorrt-rtx"]) == 2
    assert "--timing-cache" in one_line(capsys, 2)
    assert files(tmp_path) == []
