"""Whether an engine is for this scale, release and GPU; if not, both are named, with the command that builds one that is."""

import argparse
import dataclasses
import re
import shlex

import plans
import pytest
from plans import GPUS, PROFILE

from gpsr_deploy import cli
from gpsr_deploy.cli import build as cli_build
from gpsr_deploy.errors import MAX_SHOWN, ModelRefused
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.spec import Profile


def command_of(error):
    """The `gpsr-trt build` in a remedy, parsed; it has to be whole in the line that users see."""
    command = re.search(r"gpsr-trt (build .+)$", error.remedy)[1]
    assert f"{command}." in str(error)
    return cli.parser().parse_args(shlex.split(command))


def require(spec, **here):
    """The refusal of an engine that is for `spec` where the machine or the request is another."""
    asked = {"version": spec.runtime_version, "compute_capability": spec.compute_capabilities[0]} | here
    scale = asked.pop("scale", None)
    with pytest.raises(ModelRefused) as caught:
        engine_file.require_scale(spec, scale)
        engine_file.require_runnable(spec, **asked)
    assert str(caught.value).isprintable()
    options = command_of(caught.value)
    assert cli_build.profile_of(options, spec.sr.multiple_of) == spec.profile
    if scale is None:
        assert asked["compute_capability"] in options.gpu
    return caught.value, options


SPEC = plans.spec_of(plans.plan())


def test_an_engine_for_this_machine_is_accepted():
    for gpu in GPUS:
        engine_file.require_runnable(SPEC, version="1.7.1.116", compute_capability=gpu)
    for scale in (None, 4):
        engine_file.require_scale(SPEC, scale)
    engine_file.require_runnable(SPEC, version="1.7.1.99", compute_capability="8.9")


def test_another_scale_is_refused_with_both_and_the_commands():
    with pytest.raises(ModelRefused) as caught:
        engine_file.require_scale(SPEC, 8)
    assert "enlarges 4 times. Expected one for -s 8" in str(caught.value)
    assert caught.value.remedy.startswith("-s 4, or ")
    options = command_of(caught.value)
    assert "x8" in options.model.name
    assert options.gpu == SPEC.compute_capabilities


@pytest.mark.parametrize("version", ["1.7.2.116", "1.8.1.116", "2.7.1.116", "11.4.0.1"])
def test_another_release_is_refused_with_both_and_the_command(version):
    error, options = require(SPEC, version=version)
    assert "built by tensorrt-rtx 1.7.1.116. Expected " + version in str(error)
    assert (options.runtime, options.gpu) == ("tensorrt-rtx", GPUS)


def test_another_release_on_another_gpu_is_rebuilt_for_that_gpu():
    """The command for the GPUs it was for would end in the next refusal."""
    _, options = require(SPEC, version="1.8.0.1", compute_capability="7.5")
    assert options.gpu == ("7.5",)


@pytest.mark.parametrize("gpu", ["7.5", "8.0", "12.1"])
def test_another_gpu_is_refused_with_both_and_the_command(gpu):
    error, options = require(SPEC, compute_capability=gpu)
    assert f"for GPUs of compute capability 8.6, 8.9, 12.0. Expected {gpu}, which is this GPU's" in str(error)
    assert (options.runtime, options.gpu) == ("tensorrt-rtx", (gpu,))


@pytest.mark.parametrize("gpu", ["8.7", "9.0", "10.0", "7.0"])
def test_a_gpu_that_tensorrt_rtx_does_not_build_for_is_sent_to_tensorrt(gpu):
    _, options = require(SPEC, compute_capability=gpu)
    assert (options.runtime, options.gpu) == ("tensorrt", (gpu,))


def test_an_engine_of_tensorrt_is_rebuilt_by_tensorrt_on_the_gpu_here():
    spec = dataclasses.replace(
        SPEC, runtime="tensorrt", runtime_version="11.4.0.1", compute_capabilities=("8.9",)
    )  # fmt: skip
    for here in ({"compute_capability": "9.0"}, {"version": "10.12.0.36"}, {"scale": 8}):
        _, options = require(spec, **here)
        assert options.runtime == "tensorrt"
        assert here == {"scale": 8} or len(options.gpu) == 1


@pytest.mark.parametrize(
    "name",
    [
        "gpsr-nano-x4",
        "$(touch x)",
        "a; rm -rf ~",
        "`id`",
        "../../etc/x",
        "-o",
        "a b",
        "'",
        '"',
        "x" * 100,
        "\u732b",
        "..",
        "a&b|c",
    ],
)
def test_no_word_of_a_sidecar_gets_into_a_shell(name):
    """The command is there to be pasted; and it is not cut, however long the name."""
    spec = dataclasses.replace(
        SPEC,
        sr=dataclasses.replace(SPEC.sr, name=name, dtype="fp16"),
        profile=Profile(min=(65_535,) * 2, opt=(65_535,) * 2, max=(65_535,) * 2, batch=1024),
        compute_capabilities=tuple(engine_file.CAPABILITY_BITS.values()),
    )
    for here in ({"version": "1.8.0.0"}, {"compute_capability": "9.0"}, {"scale": 8}):
        error, _ = require(spec, **here)
        assert re.fullmatch(r"gpsr-trt build [A-Za-z0-9_. ,-]+", error.remedy.removeprefix("-s 4, or "))
        assert "build -" not in error.remedy
        assert ".." not in error.remedy
        assert len(error.remedy) <= MAX_SHOWN


def test_a_rebuild_names_the_model_it_was_built_from():
    half = dataclasses.replace(SPEC, sr=dataclasses.replace(SPEC.sr, dtype="fp16"))
    assert engine_file.rebuild(SPEC).startswith("gpsr-trt build gpsr_nano_x4.onnx -o gpsr_nano_x4.plan --runtime")
    assert "build gpsr_nano_x4_fp16.onnx -o gpsr_nano_x4_fp16.plan" in engine_file.rebuild(half)


def test_the_profile_of_these_tests_can_be_asked_for():
    options = cli.parser().parse_args(
        ["build", "m.onnx", *["--min", "3x3", "--opt", "48x60", "--max", "96x120", "--batch", "2"]]
    )
    assert isinstance(options, argparse.Namespace)
    assert cli_build.profile_of(options, 3) == PROFILE
