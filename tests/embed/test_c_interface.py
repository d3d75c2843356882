"""The C interface, as another language calls it: what it exports, takes, tells and refuses."""

import ctypes
import os
import re

import numpy as np
import pytest
from cpp import (
    CANCELLED,
    OK,
    PROGRESS,
    REFUSED,
    SOURCE,
    UNREADABLE,
    USAGE,
    OpenOptions,
    RunOptions,
    Spec,
    doubled,
    edited,
    picture,
    refused,
    run,
    sized,
    tiny,
    weights,
)
from onnx import helper

import gpsr_deploy


def test_it_is_the_version_of_the_package_and_has_its_runtime(library):
    assert library.c.gpsr_version().decode() == gpsr_deploy.__version__
    assert "openvino" in library.c.gpsr_runtimes().decode().split()


def test_nothing_but_the_interface_is_exported(built):
    symbols = run("nm", "-D", "--defined-only", built.folder / "lib" / "libgpsr.so").split("\n")
    exported = {line.split()[-1] for line in symbols if line}
    declared = set(re.findall(r"(gpsr_\w+)\(", (SOURCE / "include" / "gpsr" / "gpsr.h").read_text()))
    assert exported - {"gpsr_version"} == declared - {"gpsr_version"}


def test_progress_goes_from_none_to_all_tiles_and_cancels(library, doubling, photo):
    told = []

    def tell(_user, done, total):
        told.append((done, total))
        return len(told) == stop

    options = {"tile_height": 64, "tile_width": 64, "has_halo": 1, "progress": PROGRESS(tell)}
    with library.open(doubling) as model:
        stop = 0
        model.upscale(photo, **options)
        assert told == [(done, 16) for done in range(17)]
        cut = model.cut(256, 256, tile_height=64, tile_width=64, has_halo=1)
        assert (cut.tiles, cut.tile_height, cut.tile_width, cut.halo) == (16, 64, 64, 0)
        for stop in (1, 5, 17):
            told.clear()
            refused(CANCELLED, "cancelled", model.upscale, photo, **options)
            assert len(told) == stop
        stop = 0
        np.testing.assert_array_equal(model.upscale(photo), doubled(photo))


def test_results_that_are_not_finite_are_refused_with_their_place(library, tmp_path, photo):
    path = tmp_path / "nan.onnx"
    nodes = [helper.make_node("Sub", ["lr", "w"], ["d"]), helper.make_node("Sqrt", ["d"], ["x"])]
    path.write_bytes(
        tiny(
            between=nodes, initializers=[edited(weights([0.5]), lambda w: setattr(w, "name", "w"))]
        ).SerializeToString()
    )
    lr = np.full((40, 200), 255, np.uint8)
    lr[20, 170] = 0
    with library.open(path) as model:
        line = refused(REFUSED, "NaN", model.upscale, lr, tile_height=48, tile_width=48, has_halo=1)
        assert "row 0, column 144" in line


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2.5, -1.5, 255.0])
def test_floats_far_from_their_range_are_refused(library, doubling, bad):
    lr = np.zeros((9, 9, 3), np.float32)
    lr[4, 4, 1] = bad
    with library.open(doubling) as model:
        refused(USAGE, "values", model.upscale, lr)


def test_requests_that_contradict_themselves_are_refused(library, doubling):
    lr, sr = np.zeros((9, 9, 3), np.uint8), np.zeros((18, 18, 3), np.uint8)
    with library.open(doubling) as model:

        def call(wrong_lr=None, wrong_sr=None, **options):
            taken, given = picture(lr), picture(sr)
            for view, changes in ((taken, wrong_lr or {}), (given, wrong_sr or {})):
                for name, number in changes.items():
                    setattr(view, name, number)
            options = sized(RunOptions, **options) if "struct_size" not in options else RunOptions(**options)
            model.check(
                model.c.gpsr_upscale(model.handle, ctypes.byref(taken), ctypes.byref(given), ctypes.byref(options))
            )

        call()
        for wrong in (
            {"pixels": None}, {"height": 0}, {"width": -1}, {"height": 1 << 40}, {"stride": 26}, {"stride": -26}, {"stride": 1 << 50},
            {"stride": -(1 << 63)}, {"type": 3}, {"type": 0}, {"channels": 4}, {"channels": 0}, {"order": 2}, {"reserved": 1}, {"struct_size": 0},
            {"struct_size": 1 << 40}, {"type": 2}, {"channels": 1, "width": 27},
        ):  # fmt: skip
            refused(USAGE, None, call, wrong)
        for wrong in ({"height": 17}, {"width": 19}, {"type": 4}, {"channels": 1}, {"pixels": None}):
            refused(USAGE, None, call, {}, wrong)
        for wrong in (
            {"tile_height": 10}, {"tile_width": -5, "tile_height": 5}, {"halo": -1, "has_halo": 1}, {"batch": -1}, {"batch": 5000},
            {"struct_size": 3}, {"tile_height": 1 << 40, "tile_width": 1 << 40},
        ):  # fmt: skip
            refused(USAGE, None, call, **wrong)
        refused(USAGE, "aligned", call, {"pixels": lr.ctypes.data + 1, "type": 2, "width": 4})
        assert model.c.gpsr_upscale(model.handle, None, None, None) == USAGE
        assert model.c.gpsr_get_spec(model.handle, None) == USAGE
        assert model.c.gpsr_get_cut(model.handle, 9, 9, None, None) == USAGE
        call()
        assert model.c.gpsr_error(model.handle) == b""


def test_structures_may_be_shorter_or_longer_than_ours(library, doubling):
    lr, sr = np.arange(27, dtype=np.uint8).reshape(3, 3, 3), np.zeros((6, 6, 3), np.uint8)

    class Longer(ctypes.Structure):
        _fields_ = [("known", RunOptions), ("later", ctypes.c_int64)]

    with library.open(doubling) as model:
        for later, status in ((0, OK), (1, USAGE)):
            longer = Longer(known=RunOptions(struct_size=ctypes.sizeof(Longer)), later=later)
            assert (
                model.c.gpsr_upscale(
                    model.handle, ctypes.byref(picture(lr)), ctypes.byref(picture(sr)), ctypes.byref(longer)
                )
                == status
            )
        shorter = RunOptions(struct_size=ctypes.sizeof(ctypes.c_size_t), tile_height=-77)
        assert (
            model.c.gpsr_upscale(
                model.handle, ctypes.byref(picture(lr)), ctypes.byref(picture(sr)), ctypes.byref(shorter)
            )
            == OK
        )
        np.testing.assert_array_equal(sr, doubled(lr))
        for last, value in (("scale", -1), ("precision", b"none")):  # the latter came later than all before it
            spec = Spec(struct_size=getattr(Spec, last).offset, **{last: value})
            assert model.c.gpsr_get_spec(model.handle, ctypes.byref(spec)) == OK
            assert spec.name == b"double"
            assert getattr(spec, last) == value
    handle = ctypes.c_void_p()
    earlier = OpenOptions(struct_size=OpenOptions.precision.offset, precision=b"none")
    assert library.c.gpsr_open(os.fsencode(doubling), ctypes.byref(earlier), ctypes.byref(handle)) == OK
    library.c.gpsr_close(handle)


def test_handles_may_be_null_and_errors_stand_until_the_next_call(library, doubling, tmp_path):
    c, handle = library.c, ctypes.c_void_p()
    c.gpsr_close(None)
    assert c.gpsr_error(None) == b""
    assert c.gpsr_open(os.fsencode(doubling), None, None) == USAGE
    assert c.gpsr_upscale(None, None, None, None) == USAGE
    assert c.gpsr_open(None, None, ctypes.byref(handle)) == USAGE
    assert b"no path" in c.gpsr_error(handle)
    c.gpsr_close(handle)
    assert c.gpsr_open(os.fsencode(tmp_path / "none.onnx"), None, ctypes.byref(handle)) == UNREADABLE
    assert b"none.onnx: cannot be read (No such file or directory)" in c.gpsr_error(handle)
    assert c.gpsr_upscale(handle, None, None, None) == USAGE
    assert b"could not be opened" in c.gpsr_error(handle)
    c.gpsr_close(handle)
