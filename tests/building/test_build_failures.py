"""What TensorRT says no to, some of it in silence: an error in one line, and no engine."""

import dataclasses
import re
import subprocess
import sys
from types import SimpleNamespace

import plans
import pytest
from builds import MODEL, SIZES, giving, install, made
from outcomes import files, one_line
from plans import GPUS, PROFILE, Changed

from gpsr_deploy.backends import flavours
from gpsr_deploy.cli import main
from gpsr_deploy.errors import ModelRefused, OutOfMemory
from gpsr_deploy.model_files import engine as engine_file


def failing(error):
    def fail(*_arguments):
        raise error

    return plans.with_builder(lambda _builder: {"build_serialized_network": fail})


def parser_that(*, parses, errors=(), outputs=None):
    """TensorRT-RTX whose parser answers so; with `outputs` its network has as many."""

    trt = flavours.module_of("tensorrt-rtx")

    def parser(network, log):
        real = trt.OnnxParser(network.real, log)
        listed = [SimpleNamespace(desc=lambda text=text: text) for text in errors]
        return SimpleNamespace(
            parse=lambda content: real.parse(content) and parses,
            num_errors=len(errors),
            get_error=lambda index: listed[index],
        )

    def network_with(builder):
        return lambda flags: Changed(
            builder.create_network(flags), **({} if outputs is None else {"num_outputs": outputs})
        )

    return Changed(plans.with_builder(lambda builder: {"create_network": network_with(builder)}), OnnxParser=parser)


def profile_that(**changes):
    return plans.with_builder(
        lambda builder: {
            "create_optimization_profile": lambda: Changed(builder.create_optimization_profile(), **changes)
        }
    )


SHAPES = [(1, 3, 3, 3), (2, 3, 48, 60), (2, 3, 96, 120)]

FAILURES = {
    "no plan": (lambda: giving(None), "cannot build the engine"),
    "an empty plan": (lambda: giving(b""), "no TensorRT plan"),
    "something else": (lambda: giving(b"\x08\x08" * 1000), "no TensorRT plan"),
    "half a plan": (lambda: giving(plans.plan()[:-9]), "as its header says"),
    "a plan for fewer GPUs": (lambda: giving(plans.plan(GPUS[:2])), r"for GPUs of 8\.6, 8\.9\. Expected 8\.6, 8\.9, 12\.0, as asked"),
    "a plan for other GPUs": (lambda: giving(plans.plan((*GPUS, "12.1"))), "as asked"),
    "a plan for no GPU": (lambda: giving(plans.plan(())), "no compute capability. Expected 8.6"),
    "a plan of the other TensorRT": (lambda: giving(plans.plan(magic=b"ftrt")), "as asked"),
    "a plan of another release": (lambda: giving(plans.plan(version=(1, 6, 0, 1))), "header says tensorrt-rtx 1.6.0.1"),
    "an exception": (lambda: failing(RuntimeError("bad\x1b[2J")), r"failed in the build: bad\\x1b"),
    "a parser's no": (lambda: parser_that(parses=False, errors=["node 7\nis odd", "b"]), r"cannot read the model: node 7\\nis odd"),
    "a parser's no without a word": (lambda: parser_that(parses=False), "cannot read the model: it does not say why"),
    "a parser's yes with an error": (lambda: parser_that(parses=True, errors=["node 7"]), "node 7"),
    "two outputs": (lambda: parser_that(parses=True, outputs=2), "cannot read the model"),
    "no output": (lambda: parser_that(parses=True, outputs=0), "cannot read the model"),
    "no shapes taken": (lambda: profile_that(set_shape=lambda *shapes: None), "does not take the profile"),
    "other shapes taken": (lambda: profile_that(get_shape=lambda name: [*SHAPES[:2], (1, 3, 96, 120)]), "does not take the profile"),
    "a profile's -1": (lambda: plans.with_config(lambda _: {"add_optimization_profile": lambda shapes: -1}), "does not take the profile"),
    "a GPU's no": (lambda: plans.with_config(lambda _: {"set_compute_capability": lambda gpu, index: index < 1}), r"does not take --gpu 8\.9"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_a_failed_build_is_5_in_one_line_and_leaves_nothing(case, tmp_path, capsys, monkeypatch):
    make, words = FAILURES[case]
    install(monkeypatch, make())
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), "--gpu", ",".join(GPUS), *SIZES]) == 5
    assert re.search(words, one_line(capsys, 5))
    assert files(tmp_path) == []


@pytest.mark.parametrize("case", ["no plan", "a plan for fewer GPUs", "a GPU's no"])
def test_a_failed_build_leaves_the_old_engine(case, tmp_path, monkeypatch):
    install(monkeypatch, FAILURES[case][0]())
    path = plans.write(tmp_path)
    before = engine_file.read(path)
    assert main(["build", str(MODEL), "-o", str(path), "--gpu", ",".join(GPUS), *SIZES, "--overwrite"]) == 5
    assert engine_file.read(path) == before
    assert files(tmp_path) == ["x.plan", "x.plan.json"]


def test_a_build_without_memory_is_6(model, tmp_path, capsys, monkeypatch):
    with pytest.raises(OutOfMemory):
        made(model, failing(MemoryError()))
    install(monkeypatch, failing(MemoryError()))
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *SIZES]) == 6
    one_line(capsys, 6)
    assert files(tmp_path) == []


def test_the_doubles_build_where_they_change_nothing(model):
    """So that what they change is what fails."""
    for double in (giving(plans.plan()), parser_that(parses=True), plans.with_config(lambda _: {})):
        plan, spec = made(model, double)
        assert engine_file.header(plan).compute_capabilities == spec.compute_capabilities == GPUS


@pytest.mark.parametrize("sizes", [{"min": (4, 4)}, {"opt": (48, 61)}, {"max": (97, 120)}], ids=str)
def test_sizes_that_the_network_cannot_run_are_refused_before_tensorrt_is_touched(model, sizes):
    with pytest.raises(ModelRefused, match="multiples of 3"):
        made(model, None, profile=dataclasses.replace(PROFILE, **sizes))


def test_a_model_without_content_is_refused(model, trt):
    """The parser says yes to nothing at all."""
    with pytest.raises(ModelRefused, match="cannot read the model"):
        made(dataclasses.replace(model, content=b""), trt)
    with pytest.raises(ModelRefused, match="cannot read the model"):
        made(dataclasses.replace(model, content=model.content[:5000]), trt)


AFTER_A_FAILURE = """
import gc, sys
from pathlib import Path
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.backends import flavours
from gpsr_deploy.building.build import build
from gpsr_deploy.errors import UsageError
from gpsr_deploy.spec import Profile

model, trt = onnx_file.read(Path(sys.argv[1])), flavours.module_of("tensorrt-rtx")
profile = Profile(min=(3, 3), opt=(24, 24), max=(24, 24), batch=1)

messages = flavours.messages

def collecting(trt):
    logger = messages(trt)

    class Collecting(type(logger)):
        collected = False

        def log(self, severity, message):
            if not self.collected:  # the builder that is being made is the first to log
                self.collected = True
                gc.collect()  # which may come wherever Python allocates
            super().log(severity, message)

    return Collecting()

def made(gpu):
    return build(model, profile, runtime="tensorrt-rtx", trt=trt, compute_capabilities=[gpu])

made("8.9")
gc.disable()
for _ in range(3):
    try:
        made("9.9")
    except UsageError as error:
        error.myself = error  # as any caller may keep an error: nobody but the collector ends this
flavours.messages = collecting
plan, _ = made("8.9")
print(len(plan) > 100000)
"""


def test_a_build_after_one_that_failed_does_not_wait_for_what_that_left(tmp_path):
    """TensorRT logs with its lock held, and takes it to free a builder: one that the collector finds then waits for ever."""
    command = [sys.executable, "-c", AFTER_A_FAILURE, str(MODEL)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "True\n"
