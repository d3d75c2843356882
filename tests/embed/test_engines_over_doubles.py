"""Engines in the sources that call TensorRT, of both flavours, over doubles of CUDA and TensorRT in C++."""

import ctypes
import dataclasses
import os

import numpy as np
import plans
import pytest
from cpp import OUT_OF_MEMORY, PROGRESS, REFUSED, USAGE, Library, refused

WORDS = {"scale": "4", "min": "3x3", "opt": "48x60", "max": "96x120", "batch": "2"}


class Doubles(Library):
    """The library over doubles, which note what no document allows."""

    def __init__(self, path, flavour):
        super().__init__(path)
        self.flavour = flavour
        self.c.double_faults.restype = ctypes.c_char_p
        self.c.double_leftovers.restype = ctypes.c_longlong

    def engine(self, folder, *, spec=(), **words):
        """An engine whose plan tells the double what it is like."""
        body = " ".join(f"{key}={value}" for key, value in (WORDS | words).items()).encode()
        rtx = self.flavour == "tensorrt-rtx"
        content = plans.plan(body=body) if rtx else plans.plan(body=body, magic=b"ftrt")
        changes = {"runtime": self.flavour, "runtime_version": "1.7.1.116" if rtx else "11.1.0.106"} | dict(spec)
        return plans.write(folder, content, **changes)

    def require_clean(self):
        assert self.c.double_faults() == b""
        assert self.c.double_leftovers() == 0


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def doubles(built, request, monkeypatch):
    for name in list(os.environ):
        if name.startswith("GPSR_DOUBLE_"):
            monkeypatch.delenv(name)
    library = Doubles(built.folder / "lib" / f"libgpsr-doubles-{request.param}.so", request.param)
    yield library
    library.require_clean()


def quadrupled(lr):
    return lr.repeat(4, axis=0).repeat(4, axis=1)


def test_an_engine_enlarges_in_batches_of_tiles(doubles, tmp_path, photo):
    told = []
    note = PROGRESS(lambda _user, done, total: told.append((done, total)) and 0 or 0)
    with doubles.open(doubles.engine(tmp_path)) as model:
        assert (model.spec.runtime.decode(), model.spec.device) == (doubles.flavour, b"cuda:0")
        assert (model.spec.has_profile, model.spec.opt_height, model.spec.max_width, model.spec.batch) == (
            1,
            48,
            120,
            2,
        )
        for lr in (photo[:100, :100], photo[:100, :100, 0], photo[:1, :1], photo[:60, :73].astype(np.float32) / 255):
            lr = np.ascontiguousarray(lr)
            np.testing.assert_array_equal(model.upscale(lr, has_halo=1), quadrupled(lr))
        model.upscale(np.ascontiguousarray(photo[:144, :60]), has_halo=1, progress=note)
        assert told == [(0, 3), (2, 3), (3, 3)]
        refused(REFUSED, "a tile of 99x120", model.upscale, photo, tile_height=99, tile_width=120)
        np.testing.assert_array_equal(
            model.upscale(photo[:96, :96].copy(), tile_height=96, tile_width=96), quadrupled(photo[:96, :96])
        )


def test_an_engine_runs_in_the_precision_that_it_was_built_in(doubles, tmp_path):
    engine = doubles.engine(tmp_path)
    for asked in (b"fp32", b"auto", None):
        with doubles.open(engine, precision=asked) as model:
            assert model.spec.precision == b"fp32"
    for asked in (b"fp16", b"bf16", b"int8"):
        line = refused(USAGE, "x.plan: precision", doubles.open, engine, precision=asked)
        assert f"{asked.decode()}. Expected fp32 or auto: the engine was built in fp32." in line


@pytest.mark.parametrize(
    ("memory", "works"), [(50_000_000, True), (12_000_000, True), (1_000_000, True), (200_000, False)]
)
def test_without_memory_on_the_gpu_batches_then_tiles_are_halved(doubles, tmp_path, photo, monkeypatch, memory, works):
    monkeypatch.setenv("GPSR_DOUBLE_MEMORY", str(memory))
    spec = {"sr": dataclasses.replace(plans.SR, halo=0)}
    with doubles.open(doubles.engine(tmp_path, spec=spec)) as model:
        for _ in range(2):
            if works:
                np.testing.assert_array_equal(model.upscale(photo), quadrupled(photo))
            else:
                refused(OUT_OF_MEMORY, "no memory for a tile", model.upscale, photo)


def test_batches_are_halved_before_tiles(doubles, tmp_path, photo, monkeypatch):
    """And what a larger batch had taken is free again: there is memory for one tile of 48x60, and little more."""
    told = []
    note = PROGRESS(lambda _user, done, total: told.append((done, total)) and 0 or 0)
    monkeypatch.setenv("GPSR_DOUBLE_MEMORY", "1460000")
    with doubles.open(doubles.engine(tmp_path)) as model:
        np.testing.assert_array_equal(model.upscale(photo, has_halo=1, progress=note), quadrupled(photo))
    assert told == [(0, 30), *((done, 30) for done in range(31))]


@pytest.mark.parametrize("words", [
    *({"refuses": call} for call in ("deserializeCudaEngine", "createExecutionContext", "setInputShape", "inferShapes")),
    {"scale": "2"}, {"batch": "3"}, {"opt": "51x60"}, {"max": "96x123"}, {"min": "6x3"}, {"type": "half"}, {"tensors": "3"},
    {"shape": "wrong"},
], ids=lambda words: "-".join(next(iter(words.items()))))  # fmt: skip
def test_an_engine_that_is_not_what_its_sidecar_says_is_refused(doubles, tmp_path, words):
    refused(REFUSED, "engine", doubles.open, doubles.engine(tmp_path, **words))


@pytest.mark.parametrize("call", ["setTensorAddress", "enqueueV3"])
def test_an_engine_that_fails_to_run_is_refused_with_its_words(doubles, tmp_path, photo, call):
    with doubles.open(doubles.engine(tmp_path, refuses=call)) as model:
        for _ in range(2):
            refused(REFUSED, "engine", model.upscale, photo, has_halo=1)


def test_a_thread_that_used_another_gpu_comes_back_to_the_engines(doubles, tmp_path, photo):
    with doubles.open(doubles.engine(tmp_path)) as model:
        for lr in (photo[:48, :60], photo[:90, :60]):
            doubles.c.double_select(7)
            np.testing.assert_array_equal(model.upscale(lr.copy(), has_halo=1), quadrupled(lr))
        doubles.c.double_select(7)


def test_failures_short_of_memory_are_a_lack_of_memory(doubles, tmp_path, monkeypatch):
    monkeypatch.setenv("GPSR_DOUBLE_MEMORY", str(1 << 20))
    refused(OUT_OF_MEMORY, "cannot be loaded", doubles.open, doubles.engine(tmp_path, refuses="deserializeCudaEngine"))


def test_nan_and_broken_kernels_are_found(doubles, tmp_path, photo, monkeypatch):
    with doubles.open(doubles.engine(tmp_path, result="nan")) as model:
        refused(REFUSED, "NaN or infinity in the tile at row 0, column 0", model.upscale, photo, has_halo=1)
    with doubles.open(doubles.engine(tmp_path)) as model:
        monkeypatch.setenv("GPSR_DOUBLE_LAUNCH", "719")
        refused(REFUSED, "cudaErrorLaunchFailure", model.upscale, photo, has_halo=1)


@pytest.mark.parametrize(("setting", "match"), [
    ({"STATUS": 35, "DEVICES": 0}, r"no CUDA device.*\.onnx"), ({"STATUS": 100}, r"no CUDA device.*\.onnx"),
    ({"DEVICES": 0}, "no CUDA device"), ({"STATUS": 3}, r"CUDA failed.*\.onnx"), ({"LIBRARY": 10_800}, "found the library 1.8.0.116"),
    ({"CAPABILITY": 90}, "Expected 9.0, which is this GPU's.*--runtime tensorrt --gpu 9.0"),
    ({"CAPABILITY": 75}, "Expected 7.5.*--gpu 7.5"), ({"NO_RUNTIME": 1}, "does not start"),
], ids=["no driver", "no device", "none", "broken", "library", "no RTX GPU", "another GPU", "no runtime"])  # fmt: skip
def test_a_machine_that_cannot_run_the_engine_is_told_so(doubles, tmp_path, monkeypatch, setting, match):
    for name, number in setting.items():
        monkeypatch.setenv(f"GPSR_DOUBLE_{name}", str(number))
    refused(REFUSED, match, doubles.open, doubles.engine(tmp_path))


def test_engines_of_another_release_flavour_or_gpu_are_refused_before_they_are_loaded(doubles, tmp_path):
    other = "tensorrt" if doubles.flavour == "tensorrt-rtx" else "tensorrt-rtx"
    content = plans.plan() if other == "tensorrt-rtx" else plans.plan(magic=b"ftrt")
    line = refused(REFUSED, "was built by", doubles.open, plans.write(tmp_path, content, runtime=other))
    assert f"was built by {other}" in line
    assert f"Expected {doubles.flavour} " in line
    assert "Try: gpsr-trt build gpsr_nano_x4.onnx" in line
    if doubles.flavour == "tensorrt":
        engine = doubles.engine(tmp_path, spec={"runtime_version": "11.2.0.1"})
        refused(REFUSED, "11.2.0.1.*Expected tensorrt 11.1.0.116", doubles.open, engine)
    refused(REFUSED, "no GPU 1", doubles.open, doubles.engine(tmp_path), device=b"cuda:1")
