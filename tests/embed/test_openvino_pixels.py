"""Pixels from the library in OpenVINO: those of Python, in every type and layout."""

import numpy as np
import pytest
from cpp import PROGRESS, doubled, require_equal_pixels, weights, with_weights

from gpsr_deploy import models
from gpsr_deploy.backends.openvino import OpenVinoBackend
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.upscaling import upscale


@pytest.mark.parametrize("name", ["gpsr_nano_x4.onnx", "gpsr_nano_x8.onnx", "gpsr_nano_x4_fp16.onnx"])
def test_the_same_pixels_as_in_python(library, photo, photo_16, name):
    (path,) = (one for one in models.files() if one.name == name)
    grey = np.ascontiguousarray(photo[:50, :64, 1])
    pictures = [
        photo[:80, :101],
        photo_16,
        photo_16[:, :, 0].copy(),
        grey,
        photo[:31, :40].astype(np.float32) / 255,
        photo[:1, :1],
        photo[5:7, :1],
    ]
    choices = [
        upscale.Tiling(),
        upscale.Tiling(tile=(75, 84)),
        upscale.Tiling(tile=(54, 72), halo=6),
        upscale.Tiling(whole=True),
    ]
    read = onnx_file.read(path)
    own = read.spec.dtype  # in which both are exact
    with (
        OpenVinoBackend(read, threads=1, precision=own) as backend,
        library.open(path, precision=own.encode()) as model,
    ):
        assert model.spec.precision == model.spec.dtype == own.encode()
        assert model.spec.scale == backend.spec.scale
        assert model.spec.name.decode() == backend.spec.name
        for lr in pictures if name == "gpsr_nano_x4.onnx" else pictures[3:]:  # x8 takes eight times as long
            for tiling in choices if lr.dtype == np.uint8 and lr.ndim == 3 else choices[:1]:
                tile = tiling.tile or (0, 0)
                found = model.upscale(
                    np.ascontiguousarray(lr), tile_height=tile[0], tile_width=tile[1], whole=tiling.whole,
                    has_halo=tiling.halo is not None, halo=tiling.halo or 0,
                )  # fmt: skip
                require_equal_pixels(found, upscale.upscale(backend, lr, tiling=tiling).sr)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "rgb"])
def test_every_value_passes_through_every_layout_unchanged(library, doubling, kind, channels):
    draw = np.random.default_rng(0)
    count = int(np.prod((257, 256, *channels)))
    values = draw.random(count) if kind is np.float32 else np.arange(count) % (np.iinfo(kind).max + 1)
    lr = values.astype(kind).reshape(257, 256, *channels)
    if not channels and kind is np.float32:
        lr = np.round(lr * 64) / 64  # of which the mean of three is exact
    with library.open(doubling) as model:
        expected = doubled(lr)
        np.testing.assert_array_equal(model.upscale(lr), expected)
        np.testing.assert_array_equal(model.upscale(lr, tile_height=64, tile_width=100, has_halo=1, halo=4), expected)

        wide = np.full((257, 300, *channels), 7, kind)  # rows with a gap between
        wide[:, :256] = lr
        target = np.full((514, 600, *channels), 9, kind)
        model.upscale(wide[:, :256], sr=target[:, :512])
        np.testing.assert_array_equal(target[:, :512], expected)
        assert (target[:, 512:] == 9).all()

        below = np.empty_like(expected)  # from the last row up
        model.upscale(lr[::-1], sr=below[::-1])
        np.testing.assert_array_equal(below, expected)
        if channels:
            np.testing.assert_array_equal(model.upscale(lr, order=(1, 0)), expected[:, :, ::-1])
            np.testing.assert_array_equal(model.upscale(lr, order=(1, 1)), expected)


def test_values_beyond_the_range_are_clipped_and_rounded_to_the_nearest(library, tmp_path):
    for shift, places in ((0.5, 8), (-0.5, 8), (0.4 / 255, 8), (0.6 / 255, 8), (0.5 / 65535, 16)):
        path = tmp_path / "shift.onnx"
        path.write_bytes(with_weights(weights([shift])).SerializeToString())
        lr = np.arange(256, dtype=np.uint8 if places == 8 else np.uint16).reshape(16, 16)
        with OpenVinoBackend(onnx_file.read(path)) as backend, library.open(path) as model:
            np.testing.assert_array_equal(model.upscale(lr), upscale.upscale(backend, lr).sr)


def test_a_grey_picture_takes_the_mean_of_rgb(library, tmp_path):
    path = tmp_path / "tint.onnx"
    path.write_bytes(with_weights(weights([[[0.5]], [[-0.25]], [[0.125]]])).SerializeToString())
    lr = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    with OpenVinoBackend(onnx_file.read(path)) as backend, library.open(path) as model:
        np.testing.assert_array_equal(model.upscale(lr), upscale.upscale(backend, lr).sr)


def test_batches_of_tiles_give_the_same_pixels(library, doubling, photo):
    told = []
    note = PROGRESS(lambda _user, done, total: told.append((done, total)) and 0 or 0)
    with library.open(doubling) as model:
        found = model.upscale(photo, tile_height=64, tile_width=64, has_halo=1, batch=5, progress=note)
    np.testing.assert_array_equal(found, doubled(photo))
    assert told == [(0, 16), (5, 16), (10, 16), (15, 16), (16, 16)]
