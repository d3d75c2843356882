"""The model that ships: tiles equal the whole, runtimes agree with torch on the weights it came from, quality holds."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from project import DATA, ROOT

from gpsr_deploy import models, samples
from gpsr_deploy.backends import open_backend
from gpsr_deploy.media import images
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.upscaling.upscale import Tiling, upscale

WEIGHTS = ROOT / "weights" / "gpsr_nano_x4.safetensors"
SCALES = sorted(models.SHIPPED)
SET5 = DATA / "Set5"


@pytest.fixture(scope="module")
def backend():
    with open_backend(models.shipped(4)) as opened:
        yield opened


def weights_of(model: Path) -> Path:
    """The checkpoint that a model which ships was exported from."""
    return ROOT / "weights" / f"{model.stem.removesuffix('_fp16').removesuffix('_int8')}.safetensors"


def photographs() -> list[np.ndarray]:
    return [images.read(path).pixels for path in samples.photographs()]


def assert_almost_no_pixel_changes(tiled: np.ndarray, whole: np.ndarray) -> None:
    """At most one 8-bit level, on at most 0.1 % of the pixels: what the exported halo promises."""
    levels = np.abs(tiled.astype(int) - whole).max(axis=2)
    assert levels.max() <= 1
    assert np.mean(levels > 0) <= 1e-3


@pytest.mark.parametrize("size", [(48, 48), (66, 90), (96, 96), (144, 99), (192, 192)])
def test_tiles_give_the_whole_pictures_pixels(backend, size: tuple[int, int]):
    tiled, whole = [], []
    for photo in photographs():
        lr = photo[20:183, 10:201]  # 163 x 191: no multiples of anything
        tiled.append(upscale(backend, lr, tiling=Tiling(tile=size)).sr.reshape(-1, 1, 3))
        whole.append(upscale(backend, lr, tiling=Tiling(whole=True)).sr.reshape(-1, 1, 3))
    assert_almost_no_pixel_changes(np.concatenate(tiled), np.concatenate(whole))


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (17, 31), (100, 4), (49, 50)])
def test_odd_and_tiny_pictures_are_exact_in_size_and_finite(backend, shape: tuple[int, int]):
    lr = photographs()[0][60 : 60 + shape[0], 80 : 80 + shape[1]]
    sr = upscale(backend, lr, tiling=Tiling(tile=(48, 48))).sr
    assert sr.shape == (4 * shape[0], 4 * shape[1], 3)
    whole = upscale(backend, lr, tiling=Tiling(whole=True)).sr
    assert np.abs(sr.astype(int) - whole).max() <= 1


def test_a_grid_that_is_off_by_one_would_be_noticed(backend):
    """The control of the tests above: the same pixels, cut one pixel off the network's grid, are not the same result."""
    lr = photographs()[1][100:196, 100:196]
    whole = upscale(backend, lr, tiling=Tiling(whole=True)).sr[4:, 4:]
    off = upscale(backend, lr[1:, 1:], tiling=Tiling(whole=True)).sr
    inner = slice(4 * 30, 4 * 60)
    assert np.mean(np.any(whole[inner, inner] != off[inner, inner], axis=2)) > 1e-2


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
def test_every_runtime_gives_torchs_pixels(runtime: str, scale: int):
    weights = weights_of(models.shipped(scale))
    path = weights if runtime == "torch" else models.shipped(scale)
    lr = photographs()[0][:60, :90].astype(np.float32) / 255
    with open_backend(weights, device="cpu") as reference, open_backend(path, runtime=runtime, device="cpu") as tested:
        expected = upscale(reference, lr, tiling=Tiling(whole=True)).sr
        found = upscale(tested, lr, tiling=Tiling(whole=True)).sr
    assert np.abs(found - expected).max() <= 1e-5


@pytest.mark.parametrize("scale", [scale for scale in SCALES if scale != 4])
def test_tiles_of_other_scales_give_the_whole_pictures_pixels(scale: int):
    lr = photographs()[0][20:150, 10:160]
    with open_backend(models.shipped(scale), device="cpu") as other:
        side = 2 * other.spec.halo + 24
        tiled = upscale(other, lr, tiling=Tiling(tile=(side, side))).sr
        whole = upscale(other, lr, tiling=Tiling(whole=True)).sr
    assert_almost_no_pixel_changes(tiled, whole)


@pytest.mark.parametrize("path", models.files(), ids=lambda path: path.name)
def test_each_model_is_exported_from_the_weights_of_its_name(path: Path):
    spec = onnx_file.read(path).spec
    assert spec.checkpoint_sha256 == hashlib.sha256(weights_of(path).read_bytes()).hexdigest()
    assert path.stem == spec.name.replace("-", "_") + ("" if spec.dtype == "fp32" else f"_{spec.dtype}")


def test_the_models_of_the_package_are_those_of_its_checksums():
    assert {path.name for path in models.files()} == {
        path.name for path in (ROOT / "gpsr_deploy" / "models").glob("*.onnx")
    }
    assert {*models.SHIPPED.values(), *models.INT8.values()} <= {path.name for path in models.files()}
    for path in models.files():
        assert models.checksums()[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("model", [models.shipped(4), WEIGHTS], ids=["onnxruntime", "torch"])
def test_set5_is_well_above_bicubic(model: Path, capsys):
    if not SET5.is_dir():
        pytest.skip(f"the test sets are not here: no folder {SET5}")
    import evaluate

    with open_backend(model) as backend:
        score = evaluate.evaluate(SET5, evaluate.model(backend, Tiling(whole=True)), scale=4)
    assert score.images == 5
    assert score.psnr >= 30.5


@pytest.mark.alone
@pytest.mark.parametrize("size", [(500, 700), pytest.param((1500, 2000), marks=pytest.mark.slow)], ids=str)
def test_a_run_stays_within_input_output_and_half_a_gibibyte(tmp_path: Path, size: tuple[int, int]):
    photo = np.tile(photographs()[0], (6, 8, 1))[: size[0], : size[1]]
    source, target = tmp_path / "large.png", tmp_path / "out.png"
    images.write(source, images.Picture(pixels=photo))
    code = (
        "import sys; from gpsr_deploy.cli import main; code = main(sys.argv[1:]);"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "infer", str(source), "-o", str(target), "-q"]
    peak = 1024 * int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert peak <= photo.nbytes + 16 * photo.nbytes + (512 << 20)
