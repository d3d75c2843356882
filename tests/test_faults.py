"""Faults that `infer` survives: each is provoked for real, in a process of its own where it needs one."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from sealed import onnx_bytes

from gpsr_deploy import models, onnx_file
from gpsr_deploy.cli import main
from gpsr_deploy.spec import SRSpec

COMMAND = [sys.executable, "-m", "gpsr_deploy", "infer"]


@pytest.fixture
def photo_file(tmp_path: Path, photo: np.ndarray) -> Path:
    """A real photograph in a folder of its own."""
    path = tmp_path / "in" / "photo.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), photo)
    return path


def run(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)


def one_line(result: subprocess.CompletedProcess, code: int) -> str:
    """The single error line of a command that ended with `code`."""
    assert (result.returncode, result.stderr.count("\n")) == (code, 1), result.stderr
    assert result.stderr.startswith(f"error[{code}]")
    assert result.stdout == ""
    return result.stderr


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- pictures ---


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_picture_is_refused_and_gives_nothing(
    tmp_path: Path, photo: np.ndarray, suffix: str, share: float, capfd
):
    whole = cv2.imencode(suffix, photo)[1].tobytes()
    source = tmp_path / f"cut{suffix}"
    source.write_bytes(whole[: int(len(whole) * share)])
    assert main(["infer", str(source)]) == 3
    assert capfd.readouterr().err.startswith("error[3]")
    assert files(tmp_path) == [source.name]


@pytest.mark.parametrize(
    "content",
    [
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"GIF89a",
        b"\x00" * 100,
        b"#!/bin/sh\ntouch /tmp/executed\n",
    ],
)
def test_what_is_no_picture_is_refused_by_content(tmp_path: Path, content: bytes):
    source = tmp_path / "photo.png"
    source.write_bytes(content)
    assert main(["infer", str(source)]) == 3


def test_a_missing_file_a_device_and_an_unreadable_one(tmp_path: Path):
    assert main(["infer", str(tmp_path / "missing.png")]) == 3
    assert main(["infer", "/dev/zero", "-o", str(tmp_path / "o.png")]) == 3
    os.mkfifo(tmp_path / "pipe.png")
    assert main(["infer", str(tmp_path / "pipe.png")]) == 3


def test_a_result_that_its_format_cannot_hold_is_refused_before_inference(tmp_path: Path):
    wide = tmp_path / "wide.png"
    cv2.imwrite(str(wide), np.zeros((3, 4200, 3), np.uint8))
    begin = time.monotonic()
    result = run(wide, "-o", tmp_path / "wide.webp")
    assert "16383" in one_line(result, 4)
    assert time.monotonic() - begin < 20
    assert files(tmp_path) == ["wide.png"]


# --- paths and process ---


@pytest.mark.parametrize(
    "name",
    [
        "with space.png",
        "q'\"uote.png",
        "$(touch x).png",
        "new\nline.png",
        "-dash.png",
        "[1]*?.png",
        "🐱.png",
        os.fsdecode(b"\xff\xfe.png"),
    ],
)
def test_any_name_is_taken_literally(tmp_path: Path, photo: np.ndarray, name: str):
    source = tmp_path / name
    source.write_bytes(cv2.imencode(".png", photo[:12, :12])[1].tobytes())
    assert main(["infer", f"{source}", "-q"]) == 0
    assert sorted(files(tmp_path)) == sorted([name, f"{source.stem}_x4.png"])


def test_a_full_disk_keeps_the_old_file(photo_file: Path, tmp_path: Path):
    target = tmp_path / "out" / "result.png"
    target.parent.mkdir()
    target.write_bytes(b"precious")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    result = run(photo_file, "-o", target, "--overwrite", "-q", preexec_fn=limit)
    one_line(result, 4)
    assert target.read_bytes() == b"precious"
    assert files(target.parent) == ["result.png"]


@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root without setpriv may write anywhere"
)
def test_a_forbidden_place_is_found_before_inference(photo_file: Path, tmp_path: Path, shipped: onnx.ModelProto):
    """The model lies about its scale, so that inference would end with 5."""
    spec = SRSpec(
        name="liar", scale=8, halo=21, multiple_of=3, tiling="aligned", dtype="fp32", checkpoint_sha256="0" * 64
    )
    next(entry for entry in shipped.metadata_props if entry.key == onnx_file.SPEC_KEY).value = spec.to_json()
    engine = tmp_path / "liar.onnx"
    engine.write_bytes(onnx_bytes(shipped))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    drop = "-dac_override,-dac_read_search"
    plain = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"] if os.geteuid() == 0 else []
    result = subprocess.run(
        [*plain, *COMMAND, str(photo_file), "-o", str(locked / "x.png"), "--engine", str(engine)],
        capture_output=True,
        text=True,
    )
    one_line(result, 4)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_within_two_seconds_and_leaves_nothing(
    tmp_path: Path, photo: np.ndarray, number: int, code: int
):
    source = tmp_path / "large.png"
    cv2.imwrite(str(source), np.tile(photo, (4, 4, 1)))
    process = subprocess.Popen([*COMMAND, str(source), "--no-tile", "-q"], stderr=subprocess.PIPE, text=True)
    wait_until_busy(process)
    begin = time.monotonic()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, time.monotonic() - begin < 2, "Traceback" in stderr) == (code, True, False)
    assert files(tmp_path) == ["large.png"]


def wait_until_busy(process: subprocess.Popen, seconds: float = 1.5) -> None:
    """Until the process has used so much CPU that it must be inside the network."""
    stat = Path(f"/proc/{process.pid}/stat")
    ticks = os.sysconf("SC_CLK_TCK")
    while process.poll() is None:
        fields = stat.read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / ticks > seconds:
            return
        time.sleep(0.02)


def test_a_kill_at_any_moment_leaves_no_half_file_and_the_next_run_cleans_up(photo_file: Path, tmp_path: Path):
    target = tmp_path / "out" / "result.png"
    target.parent.mkdir()
    target.write_bytes(b"old")
    finished = 0
    for delay in np.linspace(0.3, 2.0, 6):
        process = subprocess.Popen([*COMMAND, str(photo_file), "-o", str(target), "--overwrite", "-q"])
        try:
            process.wait(timeout=delay)
            finished += 1
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert target.read_bytes() == b"old" or cv2.imread(str(target)) is not None
    (target.parent / f".result.png.{2**22 + 1}-0123abcd.tmp").write_bytes(b"of a dead run")
    assert run(photo_file, "-o", target, "--overwrite", "-q").returncode == 0
    assert files(target.parent) == ["result.png"]


def test_two_processes_with_one_output_give_one_whole_result(photo_file: Path, tmp_path: Path):
    target = tmp_path / "result.png"
    processes = [
        subprocess.Popen([*COMMAND, str(photo_file), "-o", str(target), "--overwrite", "-q"]) for _ in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert cv2.imread(str(target)).shape == (1024, 1024, 3)


def test_too_little_memory_gives_smaller_tiles_or_6(photo_file: Path, tmp_path: Path):
    code = (
        "import resource, sys\n"
        "from gpsr_deploy.cli import main\n"
        "import onnx, onnxruntime, pyvips\n"
        "from gpsr_deploy import backends\n"
        "from gpsr_deploy.backends import onnxruntime as _\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 2**20,) * 2)\n"
        "sys.exit(main(['infer', sys.argv[2], '-o', sys.argv[3], '-t', '300', '--threads', '1', '-v']))"
    )
    codes = {}
    for mebibytes in (1000, 400, 100, 20):
        target = tmp_path / f"{mebibytes}.png"
        result = subprocess.run(
            [sys.executable, "-c", code, str(mebibytes), str(photo_file), str(target)], capture_output=True, text=True
        )
        assert "Traceback" not in result.stderr
        codes[mebibytes] = result.returncode
        assert target.exists() == (result.returncode == 0)
    assert set(codes.values()) == {0, 6}
    assert (codes[1000], codes[20]) == (0, 6)


# --- models ---


@pytest.fixture
def shipped() -> onnx.ModelProto:
    return onnx.load_model_from_string(models.shipped(4).read_bytes())


def refused(model: bytes, tmp_path: Path, capfd, name: str = "model.onnx") -> str:
    """The error of `infer` with this model, which must be refused with 5 and leave nothing."""
    engine, source, target = tmp_path / name, tmp_path / "p.png", tmp_path / "o.png"
    engine.write_bytes(model)
    cv2.imwrite(str(source), np.full((12, 12, 3), 99, np.uint8))
    assert main(["infer", str(source), "-o", str(target), "--engine", str(engine)]) == 5
    assert not target.exists()
    return capfd.readouterr().err


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_cut_model_is_refused(tmp_path: Path, capfd, share: float):
    whole = models.shipped(4).read_bytes()
    refused(whole[: int(len(whole) * share)], tmp_path, capfd)


def test_a_pickle_is_refused_and_nothing_in_it_runs(tmp_path: Path, capfd):
    import pickle

    trap = tmp_path / "trap"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {trap}",)

    for name in ("weights.pth", "weights.safetensors", "model.onnx"):
        refused(pickle.dumps(Evil()), tmp_path, capfd, name)
    assert not trap.exists()


def test_external_weights_are_refused(tmp_path: Path, capfd, shipped: onnx.ModelProto):
    for location in ("/etc/passwd", "../secret", "weights.bin"):
        model = onnx.ModelProto.FromString(shipped.SerializeToString())
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        assert "outside the file" in refused(onnx_bytes(model), tmp_path, capfd)


def test_a_model_of_another_scale_is_refused_naming_both(tmp_path: Path, capfd, shipped: onnx.ModelProto):
    spec = SRSpec(
        name="other", scale=8, halo=21, multiple_of=3, tiling="aligned", dtype="fp32", checkpoint_sha256="0" * 64
    )
    next(entry for entry in shipped.metadata_props if entry.key == onnx_file.SPEC_KEY).value = spec.to_json()
    source, engine = tmp_path / "p.png", tmp_path / "m.onnx"
    engine.write_bytes(onnx_bytes(shipped))
    cv2.imwrite(str(source), np.zeros((12, 12, 3), np.uint8))
    assert main(["infer", str(source), "--engine", str(engine), "-s", "4"]) == 5
    error = capfd.readouterr().err
    assert "8 times" in error
    assert "-s 4" in error


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_gives_no_numbers_never_gives_a_black_picture(
    tmp_path: Path, capfd, shipped: onnx.ModelProto, value: float
):
    bias = next(tensor for tensor in reversed(shipped.graph.initializer) if list(tensor.dims) == [3])
    bias.raw_data = np.full(3, value, np.float32).tobytes()
    assert "NaN or infinity" in refused(onnx_bytes(shipped), tmp_path, capfd)


def test_a_model_that_is_not_what_its_spec_says_is_refused(tmp_path: Path, capfd, shipped: onnx.ModelProto):
    spec = SRSpec(
        name="liar", scale=8, halo=21, multiple_of=3, tiling="aligned", dtype="fp32", checkpoint_sha256="0" * 64
    )
    next(entry for entry in shipped.metadata_props if entry.key == onnx_file.SPEC_KEY).value = spec.to_json()
    refused(onnx_bytes(shipped), tmp_path, capfd)


def test_a_shipped_model_that_was_touched_is_refused(tmp_path: Path, monkeypatch):
    folder = tmp_path / "models"
    shutil.copytree(Path(models.__file__).parent, folder)
    content = bytearray((folder / "gpsr_nano_x4.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "gpsr_nano_x4.onnx").write_bytes(content)
    monkeypatch.setattr(models, "__file__", str(folder / "__init__.py"))
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((12, 12, 3), np.uint8))
    assert main(["infer", str(tmp_path / "p.png")]) == 5


def test_weights_that_are_no_numbers_are_refused_wherever_they_hide(tmp_path: Path, capfd, shipped: onnx.ModelProto):
    """OpenVINO turns some of them into finite pixels: the output does not tell."""
    tensor = shipped.graph.initializer[len(shipped.graph.initializer) // 2]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nan
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    assert "NaN" in refused(onnx_bytes(shipped), tmp_path, capfd)


@pytest.mark.parametrize("name", ["pipe.onnx", "pipe.safetensors"])
@pytest.mark.parametrize("command", ["inspect", "infer"])
def test_a_model_that_is_no_regular_file_does_not_hang(tmp_path: Path, name: str, command: str):
    os.mkfifo(tmp_path / name)
    arguments = [name] if command == "inspect" else ["p.png", "--engine", name]
    result = subprocess.run(
        [sys.executable, "-m", "gpsr_deploy", command, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    one_line(result, 3)


@pytest.mark.parametrize("name", ["missing.onnx", "missing.safetensors", "cut.onnx", "cut.safetensors", "x.txt"])
def test_inspect_refuses_what_is_no_model(tmp_path: Path, name: str):
    if name.startswith("cut"):
        (tmp_path / name).write_bytes(models.shipped(4).read_bytes()[:5000])
    result = subprocess.run(
        [sys.executable, "-m", "gpsr_deploy", "inspect", name], cwd=tmp_path, capture_output=True, text=True
    )
    one_line(result, 3 if name.startswith("missing") else 5)


@pytest.mark.parametrize("command", ["inspect", "doctor"])
def test_a_full_stdout_is_4(command: str):
    arguments = [str(models.shipped(4))] if command == "inspect" else []
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "gpsr_deploy", command, *arguments], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (result.returncode, "Traceback" in result.stderr) == (4, False)


def test_flat_alpha_stays_flat_and_hidden_colours_do_not_show(tmp_path: Path, photo: np.ndarray):
    """A disk of a photograph on transparent garbage: far from its edge alpha is exactly 0 or 255."""
    y, x = np.mgrid[:60, :60]
    inside = (y - 30) ** 2 + (x - 30) ** 2 < 20**2
    colours = np.where(inside[:, :, None], photo[60:120, 80:140], (255, 0, 255))
    source, target = tmp_path / "disk.png", tmp_path / "out.png"
    cv2.imwrite(str(source), np.dstack([colours, inside * 255]).astype(np.uint8))
    assert main(["infer", str(source), "-o", str(target), "-q"]) == 0
    sr = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    radius = np.hypot(*(np.mgrid[:240, :240] - 119.5))
    assert (sr[radius < 4 * 16, 3] == 255).all()
    assert (sr[radius > 4 * 24, 3] == 0).all()
    edge = sr[(sr[:, :, 3] > 0) & (radius > 4 * 18)][:, :3].astype(int)
    magenta = np.minimum(edge[:, 0], edge[:, 2]) - edge[:, 1]
    assert magenta.max() < 80


def test_the_model_is_refused_for_each_input_in_json(tmp_path: Path, capfd):
    import json

    assert main(["infer", "a.png", "b.png", "--engine", str(tmp_path / "none.onnx"), "--json"]) == 3
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line["input"], line["code"]) for line in lines] == [("a.png", 3), ("b.png", 3)]
