"""gpsr-trt as its users type it. Pictures are made here; the model is the one that ships."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from gpsr_deploy.cli import main

COMMAND = [sys.executable, "-m", "gpsr_deploy"]


def picture(
    path: Path, *, height: int = 12, width: int = 15, dtype: type = np.uint8, channels: int = 3, seed: int = 0
) -> Path:
    """A smooth random picture, written by OpenCV."""
    random = np.random.default_rng(seed).random((max(height // 4, 1), max(width // 4, 1), channels))
    smooth = cv2.resize(random, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, channels)
    assert cv2.imwrite(str(path), (smooth * np.iinfo(dtype).max).astype(dtype))
    return path


def shape_and_type(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return found.shape, found.dtype


def test_a_picture_becomes_four_times_larger_beside_itself(tmp_path: Path, capfd):
    source = picture(tmp_path / "photo.png", height=20, width=31)
    assert main(["infer", str(source)]) == 0
    assert shape_and_type(tmp_path / "photo_x4.png") == ((80, 124, 3), np.dtype(np.uint8))
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 1), (17, 31), (3, 100)])
def test_any_size_gives_exactly_four_times_that(tmp_path: Path, height: int, width: int):
    assert main(["infer", str(picture(tmp_path / "p.png", height=height, width=width)), "-q"]) == 0
    assert shape_and_type(tmp_path / "p_x4.png")[0] == (4 * height, 4 * width, 3)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bit_depth_grey_and_alpha_are_kept(tmp_path: Path, channels: int, dtype: type):
    source = picture(tmp_path / "p.png", dtype=dtype, channels=channels)
    assert main(["infer", str(source), "-q"]) == 0
    expected = (48, 60) if channels == 1 else (48, 60, channels)
    assert shape_and_type(tmp_path / "p_x4.png") == (expected, np.dtype(dtype))


def test_the_result_resembles_the_input(tmp_path: Path):
    source = picture(tmp_path / "p.png", height=40, width=40)
    main(["infer", str(source), "-q"])
    lr, sr = cv2.imread(str(source)), cv2.imread(str(tmp_path / "p_x4.png"))
    back = cv2.resize(sr, (40, 40), interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(lr, back) > 30


def test_json_is_one_object_a_line_and_nothing_else_on_stdout(tmp_path: Path, capfd):
    sources = [picture(tmp_path / name) for name in ("a.png", "b.png")]
    (tmp_path / "c.png").write_bytes(b"")
    code = main(["infer", *map(str, sources), str(tmp_path / "c.png"), "-o", str(tmp_path / "out"), "--json"])
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert code == 8
    done = [line for line in lines if "output" in line]
    assert [set(line) for line in done] == [
        {
            "input",
            "output",
            "width",
            "height",
            "scale",
            "backend",
            "model",
            "precision",
            "device",
            "tiles",
            "halo",
            "seconds",
        }
    ] * 2
    assert (done[0]["width"], done[0]["height"], done[0]["scale"], done[0]["backend"]) == (60, 48, 4, "openvino")
    failed = next(line for line in lines if "error" in line)
    assert set(failed) == {"input", "error", "code", "message", "try"}
    assert (failed["code"], failed["error"]) == (3, "InputUnreadable")


def test_a_folder_with_junk_gives_the_rest_and_8(tmp_path: Path, capfd):
    folder = tmp_path / "shots"
    folder.mkdir()
    picture(folder / "good.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    (folder / "notes.txt").write_text("no picture")
    assert main(["infer", str(folder), "-o", str(tmp_path / "out"), "-q"]) == 8
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".gpsr-run.jsonl", "good.png"]
    errors = capfd.readouterr().err.splitlines()
    assert [line.split()[0] for line in errors] == ["error[3]", "error[8]"]
    assert "broken.png" in errors[0]


def test_existing_outputs_are_refused_skipped_or_replaced(tmp_path: Path):
    source, target = picture(tmp_path / "p.png"), tmp_path / "p_x4.png"
    target.write_bytes(b"mine")
    assert main(["infer", str(source), "-q"]) == 4
    assert main(["infer", str(source), "-q", "--skip-existing"]) == 0
    assert target.read_bytes() == b"mine"
    assert main(["infer", str(source), "-q", "--overwrite"]) == 0
    assert shape_and_type(target)[0] == (48, 60, 3)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif"])
def test_ext_picks_the_format(tmp_path: Path, extension: str):
    assert main(["infer", str(picture(tmp_path / "p.png")), "-f", extension, "-q"]) == 0
    assert shape_and_type(tmp_path / f"p_x4.{extension}")[0] == (48, 60, 3)


def test_a_tile_is_rounded_up_and_v_says_so(tmp_path: Path, capfd):
    source = picture(tmp_path / "p.png", height=100, width=90)
    assert main(["infer", str(source), "-t", "70", "--overlap", "20", "-v"]) == 0
    assert "72x72" in capfd.readouterr().err


def test_self_ensemble_changes_little(tmp_path: Path):
    source = picture(tmp_path / "p.png")
    assert main(["infer", str(source), "-o", str(tmp_path / "one.png"), "-q"]) == 0
    assert main(["infer", str(source), "-o", str(tmp_path / "eight.png"), "-x", "-q"]) == 0
    one, eight = (cv2.imread(str(tmp_path / name)) for name in ("one.png", "eight.png"))
    assert 25 < cv2.PSNR(one, eight) < 100


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_both_runtimes_give_the_same_picture(tmp_path: Path, runtime: str):
    source = picture(tmp_path / "p.png", height=30, width=30)
    exact = ["--precision", "fp32", "-q"]
    assert main(["infer", str(source), "-o", str(tmp_path / "default.png"), *exact]) == 0
    assert main(["infer", str(source), "-o", str(tmp_path / "other.png"), "--runtime", runtime, *exact]) == 0
    default, other = (cv2.imread(str(tmp_path / name)).astype(int) for name in ("default.png", "other.png"))
    assert np.abs(default - other).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-s", "3"], 2),
        (["--device", "cuda"], 5),
        (["--device", "banana"], 2),
        (["--no-tile", "-t", "96"], 2),
        (["-f", "bmp"], 2),
        (["--engine", "missing.onnx"], 3),
        (["--engine", "missing.pth"], 5),
        (["--runtime", "torch"], 2),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_written(
    tmp_path: Path, capfd, arguments: list[str], code: int
):
    source = picture(tmp_path / "p.png")
    assert main(["infer", str(source), *arguments]) == code
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith(f"error[{code}]")
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


def test_no_gpu_names_the_way_out(tmp_path: Path, capfd):
    main(["infer", str(picture(tmp_path / "p.png")), "--device", "cuda"])
    assert "--device cpu" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["-t", "x"], ["-t", "-3"], ["--overlap", "1.5"], ["--threads", "0"], ["-s", "four"], ["--nonsense"], []],
)
def test_usage_errors_exit_with_2(arguments: list[str]):
    assert main(["infer", *arguments] if not arguments else ["infer", "p.png", *arguments]) == 2


def test_no_command_shows_what_to_do_next(capfd):
    assert main([]) == 2
    shown = capfd.readouterr()
    assert "gpsr-trt infer photo.jpg" in shown.err
    assert shown.out == ""


def test_inspect_states_what_the_model_is(capfd):
    from gpsr_deploy import models

    assert main(["inspect", str(models.shipped(4)), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert {"kind", "name", "scale", "params", "macs_720p", "dtype", "halo", "multiple_of", "tiling", "sha256"} <= set(
        found
    )
    assert (found["kind"], found["scale"], found["multiple_of"]) == ("onnx", 4, 3)
    assert found["sha256"] == models.checksums()["gpsr_nano_x4.onnx"]


def test_inspect_reads_checkpoints(capfd, checkpoint_path: Path):
    assert main(["inspect", str(checkpoint_path), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["kind"], found["name"], found["params"]) == ("safetensors", "gpsr-nano-x4", 171379)


def test_doctor_finds_this_machine_ready(capfd):
    from gpsr_deploy import models

    assert main(["doctor", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["infer_ready"] is True
    assert found["models"] == {f"x{scale}": name for scale, name in models.SHIPPED.items()}


def test_stdout_may_go_away(tmp_path: Path):
    source = picture(tmp_path / "p.png")
    command = shlex.join([*COMMAND, "infer", str(source), "-q", "--json", "--overwrite"])
    piped = subprocess.run(["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert "Traceback" not in piped.stderr
    closed = subprocess.run(["bash", "-c", f"{command} >&-"], capture_output=True, text=True)
    assert (closed.returncode, closed.stderr) == (0, "")
    full = subprocess.run(["bash", "-c", f"{command} >/dev/full"], capture_output=True, text=True)
    assert full.returncode == 4
    assert (full.stderr[:16], full.stderr.count("\n")) == ("error[4] stdout:", 1)
