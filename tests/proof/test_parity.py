"""Parity: what is counted, what is accepted, and `gpsr-trt validate` on models that agree and on models that do not."""

import dataclasses
import json
import math

import cv2
import numpy as np
import pytest
import torch

from gpsr_deploy.backends import open_backend
from gpsr_deploy.cli import main
from gpsr_deploy.media import images
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.network.folds import fold
from gpsr_deploy.proof import parity
from gpsr_deploy.proof.parity import Agreement, Tolerance

FINE = Agreement(images=1, max_difference=0.0, psnr_db=math.inf, max_level=0, share_off_by_one=0.0, non_finite=0)


def flat(value=0.5):
    return np.full((10, 10, 3), value, np.float32)


def test_levels_pixels_and_squares_are_counted():
    found = np.zeros((10, 10, 3), np.float32)
    found[0, 0, 1] = 2 / 255
    agreement = parity.compare([found, flat()], [np.zeros_like(found), flat()]).agreement()
    assert agreement.images == 2
    assert agreement.max_level == 2
    assert agreement.share_off_by_one == pytest.approx(1 / 200)
    assert agreement.max_difference == pytest.approx(2 / 255)
    assert agreement.psnr_db == pytest.approx(-10 * math.log10((2 / 255) ** 2 / 600))
    assert agreement.non_finite == 0


def test_equal_results_agree_infinitely():
    assert parity.compare([flat()], [flat()]).agreement() == FINE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_counted_and_never_accepted(value):
    found = flat()
    found[3, 4] = value
    comparison = parity.compare([found], [flat()])
    agreement = comparison.agreement()
    assert (agreement.non_finite, agreement.max_level) == (3, 255)
    assert not Tolerance(min_psnr_db=0, max_level=255).accepts(agreement)
    assert parity.picture_of_worst(comparison) is not None


def test_values_beyond_the_range_of_8_bits_count_as_its_ends():
    agreement = parity.compare([flat(1.5)], [flat(1.0)]).agreement()
    assert (agreement.max_level, agreement.share_off_by_one) == (0, 0.0)
    assert agreement.max_difference == 0.5


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"images": 0}, False),
        ({"psnr_db": 59.9}, False),
        ({"psnr_db": 60.0}, True),
        ({"max_level": 1}, True),
        ({"max_level": 2}, False),
        ({"share_off_by_one": 0.0011}, False),
        ({"non_finite": 1}, False),
        ({"psnr_db": math.nan}, False),
    ],
)
def test_a_tolerance_holds_every_limit(change, accepted):
    tolerance = Tolerance(min_psnr_db=60, max_level=1, max_share=0.001)
    assert tolerance.accepts(dataclasses.replace(FINE, **change)) == accepted


def test_results_of_other_shapes_are_no_results():
    with pytest.raises(ValueError, match="10"):
        parity.compare([flat()], [flat()[1:]])


def test_the_worst_place_is_drawn_with_its_difference():
    wanted = np.zeros((300, 400, 3), np.float32)
    found = wanted.copy()
    found[250, 390] = 0.25
    drawn = parity.picture_of_worst(parity.compare([wanted, found], [wanted, wanted]), side=64)
    assert drawn.shape == (64, 3 * 64, 3)
    assert drawn[:, :64].max() == 0
    assert drawn[:, 64:128].max() == 64
    assert drawn[:, 128:].max() == 255
    assert (drawn[:, 64:128] > 0).sum() == 3


def test_nothing_is_drawn_where_all_is_equal():
    assert parity.picture_of_worst(parity.compare([flat()], [flat()])) is None


@pytest.mark.parametrize("size", [(31, 50), (600, 700)], ids=str)
def test_photographs_have_the_size_that_was_asked_for(size):
    assert [picture.shape for picture in parity.photographs(size)] == [(*size, 3)] * 3
    assert all(0 <= picture.min() < picture.max() <= 1 for picture in parity.photographs(size))


def test_a_whole_picture_is_what_upscale_makes_of_it(onnx_path, photo):
    from gpsr_deploy.upscaling.upscale import Tiling, upscale

    lr = (photo[:20, :31] / np.float32(255)).astype(np.float32)
    with open_backend(onnx_path, device="cpu") as backend:
        found, wanted = parity.whole(backend, lr), upscale(backend, lr, tiling=Tiling(whole=True)).sr
    assert found.shape == (80, 124, 3)
    assert np.array_equal(np.clip(found, 0, 1), wanted)


# --- gpsr-trt validate ---


@pytest.fixture(scope="module")
def pictures(photo, tmp_path_factory):
    """A small one, and a grey one."""
    folder = tmp_path_factory.mktemp("pictures")
    cv2.imwrite(str(folder / "a.png"), photo[:60, :90, ::-1])
    cv2.imwrite(str(folder / "b.png"), photo[100:150, 40:81, 1])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def wide_onnx(onnx_path, tmp_path):
    """The model of `onnx_path`, which has random weights, with a halo that is enough for them."""
    return stamped(onnx_path, tmp_path / "wide.onnx", halo=60)


def stamped(source, target, **change):
    import onnx

    model = onnx_file.read(source)
    spec = dataclasses.replace(model.spec, **change)
    target.write_bytes(onnx_file.stamped(onnx.load_model_from_string(model.content), spec))
    return target


def rows(capsys):
    return {row["seam"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}


def test_a_model_that_agrees_is_ok_on_every_seam(capsys, pictures, wide_onnx, checkpoint_path):
    command = ["validate", "--engine", str(wide_onnx), "--reference", str(checkpoint_path), "--images", str(pictures)]
    assert main([*command, "--device", "cpu", "--json"]) == 0
    found = rows(capsys)
    assert list(found) == ["torch~onnx", "whole~tiled"]
    for row in found.values():
        assert list(row) == ["seam", "images", "psnr_db", "max_level", "share_off_by_one", "non_finite", "ok"]
        assert (row["images"], row["non_finite"], row["ok"]) == (2, 0, True)
    assert found["torch~onnx"]["psnr_db"] > 100
    assert main([*command, "--device", "cpu"]) == 0
    assert capsys.readouterr().out.count("ok  ") == 2


def test_a_model_of_other_weights_than_it_says_fails_with_7_and_is_drawn(
    capsys, pictures, nano, onnx_path, tmp_path, checkpoint_path
):
    import to_onnx

    wrong = fold(nano)
    with torch.no_grad():
        wrong.tail.bias += 0.01
    model = onnx_file.read(onnx_path)
    (tmp_path / "x.onnx").write_bytes(onnx_file.stamped(to_onnx.to_graph(wrong, "fp32"), model.spec))
    command = ["validate", "--engine", str(tmp_path / "x.onnx"), "--reference", str(checkpoint_path)]
    code = main([*command, "--images", str(pictures), "--device", "cpu", "--json", "--save", str(tmp_path)])
    captured = capsys.readouterr()
    found = {row["seam"]: row for row in map(json.loads, captured.out.splitlines())}
    assert code == 7
    assert not found["torch~onnx"]["ok"]
    assert found["torch~onnx"]["max_level"] in (2, 3)
    assert "error[7]" in captured.err
    assert images.read(tmp_path / "validate-torch~onnx.png").pixels.max() == 255


def test_a_halo_that_is_too_small_fails_with_7(capsys, pictures, onnx_path, tmp_path):
    narrow = stamped(onnx_path, tmp_path / "narrow.onnx", halo=3)
    code = main(["validate", "--engine", str(narrow), "--images", str(pictures), "--json", "--save", str(tmp_path)])
    assert code == 7
    assert not rows(capsys)["whole~tiled"]["ok"]


def test_limits_can_be_set(capsys, pictures, wide_onnx, checkpoint_path, tmp_path):
    command = ["validate", "--engine", str(wide_onnx), "--reference", str(checkpoint_path), "--images", str(pictures)]
    assert main([*command, "--min-psnr", "250", "--save", str(tmp_path)]) == 7
    assert main([*command, "--min-psnr", "nan"]) == 2
    assert main([*command, "--max-level", "-1"]) == 2


def test_a_reference_of_other_weights_is_refused(pictures, wide_onnx, nano, tmp_path, capsys):
    checkpoint_file.save(nano, tmp_path / "other.safetensors", member="nano", training={"data": "other"})
    command = ["validate", "--engine", str(wide_onnx), "--reference", str(tmp_path / "other.safetensors")]
    assert main([*command, "--images", str(pictures)]) == 5
    assert "weights" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_pictures_that_are_not_there_are_unreadable(tmp_path, wide_onnx, what):
    path = tmp_path / "pictures"
    if what == "empty":
        path.mkdir()
    if what == "file":
        path.touch()
    assert main(["validate", "--engine", str(wide_onnx), "--images", str(path)]) == 3


def test_a_checkpoint_is_compared_tile_by_tile(capsys, pictures, checkpoint_path, tmp_path):
    """Its halo of 36 is not measured; with random weights it need not be enough, but a row there must be."""
    code = main(
        ["validate", "--engine", str(checkpoint_path), "--images", str(pictures), "--json", "--save", str(tmp_path)]
    )
    (row,) = rows(capsys).values()
    assert (row["seam"], code) == ("whole~tiled", 0 if row["ok"] else 7)
