"""Models and engines that are opened through the C interface, and why they are refused."""

import dataclasses
import os

import plans
import pytest
from cpp import DOUBLE, REFUSED, UNREADABLE, USAGE, Refused, refused, tiny
from onnx import helper

from gpsr_deploy.errors import GpsrError
from gpsr_deploy.model_files import engine as engine_file

# --- models ---


def test_files_that_are_no_models_are_refused(library, tmp_path, doubling):
    refused(REFUSED, "suffix", library.open, tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    refused(UNREADABLE, "regular", library.open, tmp_path / "folder.onnx")
    os.mkfifo(tmp_path / "fifo.onnx")
    refused(UNREADABLE, "regular", library.open, tmp_path / "fifo.onnx")
    for name in ("x.pth", "x.PKL", "x.safetensors", "x", "x.onnx.txt", ".onnx"):
        refused(REFUSED, "pickle|suffix", library.open, tmp_path / name)
    for device in ("gpu", "cuda:", "cuda:-1", "cuda:1x", "", "cpu "):
        refused(USAGE, "device", library.open, doubling, device=device.encode())
    refused(REFUSED, "OpenVINO", library.open, doubling, device=b"cuda:0")
    refused(REFUSED, "enlarges 2 times.*scale 4", library.open, doubling, scale=4)
    for options in ({"threads": -1}, {"scale": 99}):
        refused(USAGE, None, library.open, doubling, **options)
    hostile = tmp_path / "a\x1b[2J\n.onnx"
    hostile.write_bytes(b"junk")
    assert r"a\x1b[2J\n.onnx" in refused(REFUSED, "no ONNX", library.open, hostile)


def test_what_only_the_runtime_finds_is_refused_with_its_words(library, tmp_path):
    path = tmp_path / "odd.onnx"
    path.write_bytes(tiny(between=[helper.make_node("Sqrt", ["lr", "lr", "lr"], ["y"])]).SerializeToString())
    refused(REFUSED, r"OpenVINO [0-9.]+ cannot run the model \(.+\)", library.open, path)


def test_a_model_whose_result_is_not_what_its_spec_says_is_refused(library, tmp_path, photo):
    path = tmp_path / "liar.onnx"
    path.write_bytes(tiny(spec=dataclasses.replace(DOUBLE, scale=4)).SerializeToString())
    with library.open(path) as model:
        for _ in range(2):
            refused(REFUSED, "another shape", model.upscale, photo)


# --- engines, before and without a GPU ---


def engine_without_runtime(library, path, **options):
    """Opens an engine in a library that may have no TensorRT: the line of its refusal."""
    with pytest.raises(Refused) as caught:
        library.open(path, **options)
    return caught.value


def test_a_sound_engine_is_refused_for_want_of_tensorrt_or_a_gpu_only(library, tmp_path):
    refusal = engine_without_runtime(library, plans.write(tmp_path))
    assert refusal.status == REFUSED
    tensorrt = "tensorrt" in library.c.gpsr_runtimes().decode()
    assert ("no CUDA device" if tensorrt else "built without TensorRT") in refusal.line
    assert ".onnx" in refusal.line


def test_damaged_engines_are_refused_as_in_python(library, tmp_path):
    content = plans.plan()
    flipped = bytes([*content[:-1], content[-1] ^ 1])
    body = plans.spec_of(content).to_json().encode()

    def written(name, plan, sidecar):
        path = tmp_path / f"{name}.plan"
        path.write_bytes(plan)
        if sidecar is not None:
            (tmp_path / f"{name}.plan.json").write_bytes(sidecar)
        return path

    def sidecar_for(plan, **changes):
        return plans.spec_of(plan, **changes).to_json().encode()

    foreign, short, empty = plans.plan(magic=b"ftrt"), content[:-5], content[:40]
    cases = [
        written("missing-sidecar", content, None), written("flipped", flipped, body), written("short", short, sidecar_for(short)),
        written("junk", b"junk" * 100, None), written("empty", empty, sidecar_for(empty)), written("other", content, sidecar_for(foreign)),
        written("foreign", foreign, sidecar_for(foreign)), written("no-json", content, b"{"), written("no-utf8", content, b"\xff"),
        written("large", content, body + b" " * 70_000), written("gpus", content, sidecar_for(content, compute_capabilities=("7.5",))),
        written("version", content, sidecar_for(content, runtime_version="1.8.0.0")), tmp_path / "none.plan",
    ]  # fmt: skip
    (tmp_path / "loop.plan").write_bytes(content)
    (tmp_path / "loop.plan.json").symlink_to("loop.plan.json")
    for path in [*cases, tmp_path / "loop.plan"]:
        with pytest.raises(GpsrError) as caught:
            engine_file.read(path)
        refusal = engine_without_runtime(library, path)
        assert refusal.status == caught.value.exit_code
        assert refusal.line.split(". ")[0] == str(caught.value).split(". ")[0].replace(
            "the sidecar is not UTF-8", "the spec is not UTF-8"
        )
    refusal = engine_without_runtime(library, plans.write(tmp_path), scale=8)
    assert "the engine enlarges 4 times" in refusal.line
    assert "on the CPU" in engine_without_runtime(library, plans.write(tmp_path), device=b"cpu").line


def test_tensorrt_is_built_in_where_its_headers_are_and_else_said_to_be_missing(built, library, tmp_path):
    """On a machine without a GPU a real engine gets as far as the error that says so."""
    if "TensorRT: NvInfer.h and its library not found" in built.said:
        assert library.c.gpsr_runtimes() == b"openvino"
        return
    assert "tensorrt" in library.c.gpsr_runtimes().decode()
    plan, spec = plans.real()
    path = plans.write(tmp_path, plan, **{field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)})
    refused(REFUSED, "no CUDA device", library.open, path)
