"""--runtime and --precision: what is asked for runs, what ran is told, and a folder is never half of one and half of another."""

import json
from pathlib import Path

import numpy as np
import pytest

from gpsr_deploy import cli, load, models
from gpsr_deploy.backends import choice
from gpsr_deploy.backends.openvino import OpenVinoBackend, computes_in_bf16
from gpsr_deploy.cli import main
from gpsr_deploy.media import images
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.upscaling.upscale import upscale


@pytest.fixture
def lr(tmp_path: Path, photo) -> Path:
    path = tmp_path / "p.png"
    images.write(path, images.Picture(pixels=photo[:48, :60]))
    return path


def made(lr: Path, capfd, *options: str) -> tuple[dict, np.ndarray]:
    """What infer tells, and the picture."""
    target = lr.with_name("sr.png")
    assert main(["infer", str(lr), "-o", str(target), "--overwrite", "--json", "-q", *options]) == 0
    return json.loads(capfd.readouterr().out), images.read(target).pixels


def test_the_default_is_the_fastest_and_says_what_it_is(lr: Path, capfd):
    told, _ = made(lr, capfd)
    assert (told["backend"], told["model"]) == ("openvino", "gpsr-nano-x4")
    dtype = choice.dtype_for(4, runtime="auto", precision="auto", device="auto")
    assert told["precision"] == ("int8" if dtype == "int8" else "bf16" if computes_in_bf16() else "fp32")


@pytest.mark.parametrize("runtime", ["auto", "openvino", "onnxruntime"])
def test_fp32_is_exact_in_every_runtime(lr: Path, capfd, runtime: str):
    told, found = made(lr, capfd, "--precision", "fp32", "--runtime", runtime)
    assert told["precision"] == "fp32"
    with OpenVinoBackend(onnx_file.read(models.shipped(4)), threads=1) as backend:
        wanted = upscale(backend, images.read(lr).pixels).sr
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_bf16_is_at_most_a_few_levels_away(lr: Path, capfd):
    if not computes_in_bf16():
        pytest.skip("this processor has no bfloat16 arithmetic")
    told, found = made(lr, capfd, "--precision", "bf16")
    _, exact = made(lr, capfd, "--precision", "fp32")
    assert told["precision"] == "bf16"
    assert 1 <= np.abs(found.astype(int) - exact).max() <= 8


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--precision", "bf16", "--runtime", "onnxruntime"], "OpenVINO"),
        (["--precision", "int8", "--engine", str(models.shipped(4))], "quantize"),
        (["--precision", "fp32", "--engine", str(models.shipped(4).with_name("gpsr_nano_x4_fp16.onnx"))], "fp16"),
    ],
)
def test_what_cannot_run_as_asked_is_refused_and_nothing_else_runs(lr: Path, capfd, options: list[str], match: str):
    assert main(["infer", str(lr), "-q", *options]) == 2
    assert match in capfd.readouterr().err
    assert list(lr.parent.iterdir()) == [lr]


def test_a_run_that_was_stopped_does_not_go_on_in_another_precision(tmp_path: Path, photo, capfd):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        images.write(folder / f"{name}.png", images.Picture(pixels=photo[:24, :24]))
    (folder / "c.png").write_bytes(b"no picture")
    command = ["infer", str(folder), "-o", str(tmp_path / "out"), "-q", "--skip-existing"]
    assert main([*command, "--precision", "fp32", "--runtime", "openvino"]) == 8
    if computes_in_bf16():
        assert main([*command, "--precision", "bf16"]) == 2
        assert "--precision" in capfd.readouterr().err
    assert main([*command, "--precision", "fp32", "--runtime", "openvino"]) == 8


def test_load_takes_both(photo):
    with load(scale=4, precision="fp32", runtime="openvino", threads=1) as upscaler:
        exact = upscaler(photo[:24, :24])
    with load(scale=4, runtime="onnxruntime", threads=1) as upscaler:
        assert np.abs(upscaler(photo[:24, :24]).astype(int) - exact).max() <= 1


def test_bench_says_what_ran_and_takes_one_model_in_two_ways(capfd):
    model = str(models.shipped(4))
    command = ["bench", "--engine", model, "--precision", "fp32", "--vs", model, "--vs-runtime", "onnxruntime"]
    assert main([*command, "--size", "12x12", "--rounds", "1", "--warmup", "1", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["runtime"], told["precision"]) == ("openvino", "fp32")
    assert (told["vs"]["runtime"], told["vs"]["precision"]) == ("onnxruntime", "fp32")


NEEDED = {"infer": ["x"], "inspect": ["x"], "build": ["x"], "video": ["x", "-o", "y"], "package": ["cpp", "-o", "y"]}


def test_each_command_has_its_file_and_a_command_alone_is_read():
    whole = cli.parser()
    for name in cli.COMMANDS:
        assert (Path(cli.__file__).parent / f"{name}.py").exists()
        for parser in (whole, cli.parser([name])):
            assert callable(parser.parse_args([name, *NEEDED.get(name, [])]).run)
