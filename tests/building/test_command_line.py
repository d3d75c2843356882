"""`gpsr-trt build`: what it reads and where it writes, and that a refusal leaves all as it was."""

import os
from pathlib import Path

import plans
import pytest
from builds import MODEL, SIZES, giving, install
from outcomes import files, one_line
from plans import GPUS

from gpsr_deploy.cli import main
from gpsr_deploy.model_files import engine as engine_file


@pytest.mark.parametrize("name", ["x.plan", "x.plan.json"])
def test_an_output_that_exists_is_4_and_untouched(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(b"precious")
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *SIZES]) == 4
    assert "--overwrite" in one_line(capsys, 4)
    assert (tmp_path / name).read_bytes() == b"precious"
    assert files(tmp_path) == [name]


def test_overwrite_replaces_a_whole_engine_and_clears_what_dead_builds_left(tmp_path, monkeypatch):
    path = plans.write(tmp_path)
    (tmp_path / f".x.plan.{2**22 + 1}-0123abcd.tmp").write_bytes(b"of a dead build")
    content = plans.plan(body=b"new")
    install(monkeypatch, giving(content))
    assert main(["build", str(MODEL), "-o", str(path), "--gpu", ",".join(GPUS), *SIZES, "--overwrite", "-q"]) == 0
    assert engine_file.read(path).content == content
    assert files(tmp_path) == ["x.plan", "x.plan.json"]


@pytest.mark.parametrize("name", ["x.onnx", "x", "x.plan.json", "x.engine", ".plan"])
def test_an_output_of_another_kind_is_2(name, tmp_path, capsys):
    assert main(["build", str(MODEL), "-o", str(tmp_path / name), *SIZES]) == 2
    one_line(capsys, 2)
    assert files(tmp_path) == []


def test_what_is_written_is_never_what_is_read(tmp_path, capsys):
    for name in ("m.plan", "m.plan.json"):
        source = tmp_path / name
        source.write_bytes(MODEL.read_bytes())
        assert main(["build", str(source), "-o", str(tmp_path / "m.plan"), *SIZES, "--overwrite"]) == 2
        one_line(capsys, 2)
        assert source.read_bytes() == MODEL.read_bytes()
        assert files(tmp_path) == [name]
        source.unlink()


def test_the_default_output_is_the_models_name_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    install(monkeypatch, giving(plans.plan()))
    assert main(["build", str(MODEL), "--gpu", ",".join(GPUS), "-q"]) == 0
    assert files(tmp_path) == ["gpsr_nano_x4.plan", "gpsr_nano_x4.plan.json"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("m.onnx", b"", 5),
        ("m.onnx", b"not a model", 5),
        ("m.onnx", MODEL.read_bytes()[:100_000], 5),
        ("m.safetensors", b"\x02\0\0\0\0\0\0\0{}", 5),
        ("m.plan.onnx", plans.plan(), 5),
        ("missing/m.onnx", None, 3),
        (".", None, 3),
        ("/", None, 3),
        ("..", None, 3),
        ("", None, 3),
    ],
    ids=["empty", "junk", "cut", "safetensors", "plan", "missing", "here", "root", "above", "nothing"],
)
def test_what_is_no_model_is_refused_and_gives_nothing(name, content, code, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    before = files(tmp_path)
    assert main(["build", name]) == code
    one_line(capsys, code)
    assert files(tmp_path) == before


def test_a_fifo_is_no_model_and_does_not_hang(tmp_path, capsys):
    os.mkfifo(tmp_path / "m.onnx")
    assert main(["build", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "x.plan")]) == 3
    one_line(capsys, 3)
