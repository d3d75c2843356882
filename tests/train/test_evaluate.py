"""Evaluation: the protocol by hand on small pictures, published figures on the real sets, tables that can be read."""

import json
import re

import cv2
import matlab
import numpy as np
import pytest
from project import DATA

import evaluate
import paper
from gpsr_deploy import metrics
from gpsr_deploy.backends import open_backend
from gpsr_deploy.errors import InputUnreadable, ModelRefused, UsageError
from gpsr_deploy.media import images
from gpsr_deploy.upscaling.ensemble import SelfEnsemble
from gpsr_deploy.upscaling.upscale import Tiling, upscale


@pytest.fixture(scope="module")
def tiny_set(photo, tmp_path_factory):
    """Two pictures, one grey, of sizes that are no multiples of 4."""
    folder = tmp_path_factory.mktemp("tiny") / "Set5"
    folder.mkdir()
    cv2.imwrite(str(folder / "colour.png"), photo[:98, :75, ::-1])
    cv2.imwrite(str(folder / "grey.png"), photo[100:162, :82, 1])
    return folder


def by_hand(tiny_set, enlarge, make_lr):
    """Mean PSNR and SSIM over the set, from the protocol's words."""
    psnrs, ssims = [], []
    for path in sorted(tiny_set.iterdir()):
        hr = images.read(path).pixels
        hr = hr[: hr.shape[0] // 4 * 4, : hr.shape[1] // 4 * 4]
        sr = enlarge(make_lr(hr))
        psnrs.append(metrics.psnr(sr, hr, shave=4))
        ssims.append(metrics.ssim(sr, hr, shave=4))
    return np.mean(psnrs), np.mean(ssims)


def matlab_lr(hr, degradation):
    planes = np.atleast_3d(hr) / 255.0
    match degradation:
        case "bi":
            lr = matlab.imresize(planes, 4)
        case "bd":
            lr = matlab.imfilter_gaussian(planes, 12, 1.6)[1::4, 1::4]
        case "bd7":
            lr = matlab.imresize(matlab.imfilter_gaussian(planes, 7, 1.6), 4)
    return matlab.to_8_bit(lr).astype(np.uint8).reshape(hr.shape[0] // 4, hr.shape[1] // 4, *hr.shape[2:])


@pytest.mark.parametrize("degradation", ["bi", "bd", "bd7"])
def test_a_model_is_scored_on_what_the_degradation_makes(capsys, tiny_set, onnx_path, degradation):
    options = ["--engine", str(onnx_path), "--degradation", degradation, "--device", "cpu", "--json", str(tiny_set)]
    assert evaluate.main(options) == 0
    found = json.loads(capsys.readouterr().out)
    with open_backend(onnx_path, device="cpu") as backend:
        wanted = by_hand(
            tiny_set,
            lambda lr: upscale(backend, lr, tiling=Tiling(whole=True)).sr,
            lambda hr: matlab_lr(hr, degradation),
        )
    assert list(found) == ["set", "images", "psnr", "ssim"]
    assert (found["set"], found["images"]) == ("Set5", 2)
    assert (found["psnr"], found["ssim"]) == pytest.approx(wanted, abs=1e-9)


def test_the_self_ensemble_is_what_is_scored(capsys, tiny_set, onnx_path):
    assert evaluate.main(["--engine", str(onnx_path), "-x", "--device", "cpu", "--json", str(tiny_set)]) == 0
    found = json.loads(capsys.readouterr().out)
    whole = Tiling(whole=True)
    with open_backend(onnx_path, device="cpu") as plain:
        wanted, without = (
            by_hand(tiny_set, lambda lr, b=backend: upscale(b, lr, tiling=whole).sr, lambda hr: matlab_lr(hr, "bi"))
            for backend in (SelfEnsemble(plain), plain)
        )
    assert (found["psnr"], found["ssim"]) == pytest.approx(wanted, abs=1e-9)
    assert found["psnr"] != pytest.approx(without[0], abs=1e-3)


@pytest.mark.parametrize(("options", "tiling"), [([], Tiling(whole=True)), (["--tile", "15"], Tiling(tile=(15, 15)))])
def test_pictures_are_run_whole_unless_tiles_are_asked_for(tiny_set, onnx_path, monkeypatch, options, tiling):
    seen = set()
    monkeypatch.setattr(
        evaluate, "upscale", lambda b, lr, *, tiling: (seen.add(tiling), upscale(b, lr, tiling=tiling))[1]
    )
    assert evaluate.main(["--engine", str(onnx_path), *options, "--device", "cpu", str(tiny_set)]) == 0
    assert seen == {tiling}


def test_torch_and_onnxruntime_score_alike(capsys, tiny_set, onnx_path, checkpoint_path):
    psnrs = []
    for path in (onnx_path, checkpoint_path):
        evaluate.main(["--engine", str(path), "--device", "cpu", "--json", str(tiny_set)])
        psnrs.append(json.loads(capsys.readouterr().out)["psnr"])
    assert psnrs[0] == pytest.approx(psnrs[1], abs=1e-3)  # a pixel in a thousand may round to another level


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_markdown_table_holds_our_row_and_the_papers(capsys, tiny_set):
    assert evaluate.main(["--bicubic", "--markdown", str(tiny_set)]) == 0
    head, rule, ours, *published = map(cells, capsys.readouterr().out.splitlines())
    assert head == ["x4 BI, PSNR/SSIM", "Set5"]
    assert set(rule) == {"---"}
    score = evaluate.evaluate(tiny_set, evaluate.bicubic(4), scale=4)
    assert ours == ["bicubic", f"{score.psnr:.2f}/{score.ssim:.4f}"]
    assert ["GPSR (paper)", "32.74/0.9010"] in published
    assert ["bicubic (published)", "28.42/0.8104"] in published


def test_the_text_table_stands_in_columns(capsys, tiny_set, tmp_path):
    other = tmp_path / "mine"
    other.mkdir()
    (other / "x.png").write_bytes((tiny_set / "grey.png").read_bytes())
    assert evaluate.main(["--bicubic", "--scale", "8", "--degradation", "bd", str(tiny_set), str(other)]) == 0
    lines = capsys.readouterr().out.splitlines()
    column = lines[0].index("Set5"), lines[0].index("mine")
    gpsr = next(line for line in lines if line.startswith("GPSR (paper)"))
    assert gpsr[column[0] :].split() == ["26.32/0.7788", "-"]
    assert gpsr[column[1]] == "-"


@pytest.mark.parametrize("row", paper.ROWS, ids=lambda row: f"{row.method} x{row.scale} {row.degradation}")
def test_published_rows_are_plausible(row):
    """A slip of the finger would make a set better at x8 than at x4, or SSIM no SSIM."""
    assert all(20 < psnr < 34 and 0.5 < ssim < 0.93 for psnr, ssim in row.scores.values())
    assert row.scores["Set5"][0] > row.scores["Set14"][0]


def test_self_ensemble_is_named_with_a_plus(capsys, tiny_set, onnx_path):
    assert evaluate.main(["--engine", str(onnx_path), "-x", "--device", "cpu", str(tiny_set)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("gpsr-nano-x4+ ")


def test_a_model_of_another_scale_is_refused(tiny_set, onnx_path):
    with pytest.raises(ModelRefused, match="x4"):
        evaluate.main(["--engine", str(onnx_path), "--scale", "8", str(tiny_set)])


def test_a_set_without_pictures_is_unreadable(tmp_path):
    with pytest.raises(InputUnreadable):
        evaluate.main(["--bicubic", str(tmp_path)])
    with pytest.raises(InputUnreadable):
        evaluate.main(["--bicubic", str(tmp_path / "nowhere")])


def test_hidden_files_are_passed_over_and_other_files_are_not(tmp_path, tiny_set):
    (tmp_path / "a.png").write_bytes((tiny_set / "colour.png").read_bytes())
    (tmp_path / ".DS_Store").write_bytes(b"of a file browser")
    assert evaluate.evaluate(tmp_path, evaluate.bicubic(4), scale=4).images == 1
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputUnreadable):
        evaluate.evaluate(tmp_path, evaluate.bicubic(4), scale=4)


@pytest.mark.parametrize(("scale", "side"), [(4, 20), (8, 32)])
def test_a_picture_that_is_too_small_to_be_scored_is_refused(tmp_path, photo, scale, side):
    """11 pixels must be left for SSIM's window: 20 - 2 * 4, 32 - 2 * 8."""
    cv2.imwrite(str(tmp_path / "a.png"), photo[:side, :side])
    assert np.isfinite(evaluate.evaluate(tmp_path, evaluate.bicubic(scale), scale=scale).ssim)
    for smaller in (side - 1, 3, 1):
        cv2.imwrite(str(tmp_path / "a.png"), photo[:smaller, :200])
        with pytest.raises(InputUnreadable, match=f"at least {side}x{side}"):
            evaluate.evaluate(tmp_path, evaluate.bicubic(scale), scale=scale)


def test_an_exact_result_has_no_psnr_in_json(capsys, tmp_path):
    cv2.imwrite(str(tmp_path / "white.png"), np.full((64, 64, 3), 255, np.uint8))
    assert evaluate.main(["--bicubic", "--json", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["psnr"] is None
    assert found["ssim"] == pytest.approx(1)


@pytest.mark.parametrize("device", ["abacus", "cuda:x"])
def test_a_device_that_is_none_is_a_usage_error(tiny_set, onnx_path, device):
    with pytest.raises(UsageError):
        evaluate.main(["--engine", str(onnx_path), "--device", device, str(tiny_set)])


# --- the real sets ---


@pytest.fixture
def sets():
    if not DATA.is_dir():
        pytest.skip(f"the test sets are not here: no folder {DATA}")
    return DATA


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scale", "psnr", "ssim"),
    [("Set5", 4, 28.42, 0.8104), ("Set14", 4, 26.00, 0.7027), ("Set5", 8, 24.40, 0.658), ("Set14", 8, 23.10, 0.566)],
)
def test_bicubic_is_as_published(sets, name, scale, psnr, ssim):
    found = evaluate.evaluate(sets / name, evaluate.bicubic(scale), scale=scale)
    assert found.psnr == pytest.approx(psnr, abs=0.02)
    assert found.ssim == pytest.approx(ssim, abs=0.003)


@pytest.mark.slow
def test_published_rows_are_those_of_the_papers_tables():
    path = DATA.parent / "paper" / "gpsr_2023.txt"
    if not path.is_file():
        pytest.skip(f"the paper is not here: no file {path}")
    printed = []
    for table in re.findall(r"\*\*Table [45]\.\*\*.*?\n\n\n?\S*.*?(?=\n\n\n|\n## )", path.read_text(), re.DOTALL):
        for cells in (line.split("\t") for line in table.splitlines()):
            if len(cells) == 9 and cells[1].endswith("M"):
                scores = [tuple(float(number) for number in cell.split("/")) for cell in cells[4:]]
                printed.append((f"{cells[0].split(' [')[0]} (paper)", dict(zip(paper.SETS, scores, strict=True))))
    assert len(printed) == 11 + 11 + 7
    assert [(row.method, row.scores) for row in paper.ROWS if row.method.endswith("(paper)")] == printed
    protocols = [(row.scale, row.degradation) for row in paper.ROWS if row.method == "GPSR (paper)"]
    assert protocols == [(4, "bi"), (8, "bi"), (8, "bd")]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [4, 8])
def test_bi_of_set5_is_matlabs_to_the_last_pixel(sets, scale):
    for path in sorted((sets / "Set5").iterdir()):
        hr = images.read(path).pixels
        hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
        wanted = matlab.to_8_bit(matlab.imresize(hr / 255.0, scale))
        assert np.count_nonzero(evaluate.make_lr(hr, scale, "bi") != wanted) == 0, path.name
