"""What a model is computed in: chosen, refused and told in C++ as in Python."""

import dataclasses
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from cpp import (
    DOUBLE,
    REFUSED,
    USAGE,
    doubled,
    netpbm,
    probe,
    program,
    refused,
    require_equal_pixels,
    tiny,
    weights,
    with_quality,
)
from onnx import helper

from gpsr_deploy import models
from gpsr_deploy.backends import choice, open_backend, openvino
from gpsr_deploy.errors import GpsrError
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.spec import MAX_LOSS_DB, Quality
from gpsr_deploy.upscaling import upscale


@pytest.fixture(scope="module")
def needs_bf16():
    if not openvino.computes_in_bf16():
        pytest.skip("this processor has no bfloat16 arithmetic: OpenVINO does not list BF16 among its capabilities")


def test_every_choice_is_that_of_python(built, monkeypatch):
    """For every type of file, wish and processor, and whatever bf16 was measured to lose."""
    losses = [None, -1.0, MAX_LOSS_DB, float(np.nextafter(MAX_LOSS_DB, 1))]
    asked = ["auto", "fp32", "fp16", "bf16", "int8"]
    cases = list(itertools.product(["fp32", "fp16", "int8"], asked, [False, True], losses))
    words = [f"{dtype} {wish} {int(has)} {'-' if loss is None else repr(loss)}" for dtype, wish, has, loss in cases]
    for (dtype, wish, has, loss), line in zip(cases, probe(built, "precision", words), strict=True):
        monkeypatch.setattr(openvino, "computes_in_bf16", lambda has=has: has)
        quality = Quality(loss_db={} if loss is None else {"bf16": loss})
        model = SimpleNamespace(spec=SimpleNamespace(dtype=dtype), quality=quality)
        try:
            _, expected = choice.choose(model, runtime="openvino", precision=wish, device="cpu")
            if expected == "bf16" and not has:
                openvino.OpenVinoBackend(model, precision=expected)
        except GpsrError as error:
            assert line == str(error)
        else:
            assert json.loads(line) == expected


def test_what_the_file_has_not_is_refused_and_what_it_runs_in_is_told(library, tmp_path, photo, doubling):
    refused(USAGE, "precision 'fp8'. Expected auto, fp32, fp16, bf16 or int8", library.open, doubling, precision=b"fp8")
    refused(USAGE, r"precision int8 of a model in fp32.*export/quantize\.py", library.open, doubling, precision=b"int8")
    refused(USAGE, "precision fp16 of a model in fp32", library.open, doubling, precision=b"fp16")
    if not openvino.computes_in_bf16():
        refused(REFUSED, "no bfloat16 arithmetic.*--precision fp32", library.open, doubling, precision=b"bf16")
    path = tmp_path / "measured.onnx"
    for loss in (None, 0.01, 0.06):
        quality = {"loss_db": {} if loss is None else {"bf16": loss}, "float_layers": []}
        path.write_bytes(with_quality(quality).SerializeToString())
        with open_backend(path, runtime="openvino", precision="auto") as backend:
            assert (backend.precision == "bf16") == (loss == 0.01 and openvino.computes_in_bf16())
            for wish in (b"auto", None):
                with library.open(path, precision=wish) as model:
                    assert (model.spec.precision.decode(), model.spec.dtype) == (backend.precision, b"fp32")
                    np.testing.assert_array_equal(model.upscale(photo), upscale.upscale(backend, photo).sr)
        with library.open(path, precision=b"fp32") as model:
            assert model.spec.precision == b"fp32"


def in_int8(path, quality=None):
    """A model in int8 that rounds a picture to 31 levels, which floating point then takes a third of."""
    zero = helper.make_tensor("zero", 2, [], [0])
    scale, third = helper.make_tensor("step", 1, [], [1 / 30]), weights([1 / 3])
    third.name = "third"
    nodes = [
        helper.make_node("QuantizeLinear", ["lr", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        helper.make_node("Mul", ["d", "third"], ["x"]),
    ]
    spec = dataclasses.replace(DOUBLE, dtype="int8")
    props = {"gpsr.quality": json.dumps(quality)} if quality else {}
    model = tiny(between=nodes, initializers=[zero, scale, third], spec=spec, props=props)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_in_int8_runs_as_such(library, tmp_path, photo):
    path = in_int8(tmp_path / "int8.onnx", {"loss_db": {"int8": 0.01}, "float_layers": ["head"]})
    for asked in ("fp32", "bf16"):
        line = refused(USAGE, f"precision {asked} of a model in int8", library.open, path, precision=asked.encode())
        assert "Expected auto, which is int8 here." in line
    with openvino.OpenVinoBackend(onnx_file.read(path)) as backend:
        expected = upscale.upscale(backend, photo).sr
    assert len(np.unique(expected)) <= 31
    for wish in (b"int8", b"auto"):
        with library.open(path, precision=wish) as model:
            assert (model.spec.precision, model.spec.dtype) == (b"int8", b"int8")
            require_equal_pixels(model.upscale(photo), expected)


def test_the_model_in_int8_that_ships_gives_the_pixels_of_python(library, photo):
    """Within a level, its rest in what this processor has."""
    path, lr = models.shipped(4, "int8"), np.ascontiguousarray(photo[:129, :129])
    with openvino.OpenVinoBackend(onnx_file.read(path), threads=1) as backend, library.open(path) as model:
        assert (model.spec.precision, model.spec.dtype) == (b"int8", b"int8")
        expected = upscale.upscale(backend, lr, tiling=upscale.Tiling(whole=True)).sr
        require_equal_pixels(model.upscale(lr, whole=True), expected)


@pytest.mark.usefixtures("needs_bf16")
@pytest.mark.parametrize("scale", [4, 8])
def test_bf16_gives_the_pixels_of_python_in_bf16(library, photo, scale):
    """Within a level, and not those of fp32."""
    path = models.shipped(scale)
    lr = np.ascontiguousarray(
        photo[:129, :129] if scale == 4 else photo[:30, :42]
    )  # a model for this shape, or for all
    found = {}
    for precision in ("fp32", "bf16"):
        with (
            openvino.OpenVinoBackend(onnx_file.read(path), threads=1, precision=precision) as backend,
            library.open(path, precision=precision.encode()) as model,
        ):
            assert model.spec.precision.decode() == backend.precision == precision
            assert (model.spec.runtime, model.spec.dtype) == (b"openvino", b"fp32")
            found[precision] = model.upscale(lr, whole=True)
            expected = upscale.upscale(backend, lr, tiling=upscale.Tiling(whole=True)).sr
        off = np.abs(found[precision].astype(int) - expected)
        assert off.max() <= 1
        assert (off > 0).mean() <= 1e-4
    off = np.abs(found["bf16"].astype(int) - found["fp32"])
    assert 0 < off.max() <= 8
    assert off.mean() < 1


def test_the_program_computes_in_what_it_is_asked_for(built, photo, tmp_path):
    """The model that ships in int8 is taken for that; `auto` is one of the others."""
    (tmp_path / "in.ppm").write_bytes(netpbm(photo[:40, :50]))
    made, best = {}, "bf16" if openvino.computes_in_bf16() else "fp32"
    for wish in {"fp32", best, "auto", "int8"}:
        ended = program(built, "-q", "--precision", wish, tmp_path / "in.ppm", tmp_path / f"{wish}.ppm")
        assert (ended.returncode, ended.stderr) == (0, b"")
        made[wish] = (tmp_path / f"{wish}.ppm").read_bytes()
    assert made["auto"] == made[best]
    assert len(set(made.values())) == len({"fp32", best, "int8"})


def test_one_model_takes_shapes_in_turns(library, doubling, photo):
    """Small ones in the model for all shapes, large ones in one for theirs, which makes room for the next."""
    with library.open(doubling) as model:
        for height, width in [(129, 132), (9, 9), (129, 132), (132, 129), (132, 129), (60, 60), (60, 7)]:
            lr = np.ascontiguousarray(photo[:height, :width])
            np.testing.assert_array_equal(model.upscale(lr, whole=True), doubled(lr))
        found = model.upscale(photo, tile_height=66, tile_width=66, has_halo=1, batch=7)  # of 16 tiles: two shapes
        np.testing.assert_array_equal(found, doubled(photo))
