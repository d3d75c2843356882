"""Nothing leaves the machine: no command, program or call writes to the user's home or opens an internet socket."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import films
import pytest
import pyvips
from once import once
from project import ROOT, SUPPORT

from gpsr_deploy import samples
from gpsr_deploy.backends import silence

MODEL = ROOT / "gpsr_deploy" / "models" / "gpsr_nano_x4.onnx"
WEIGHTS = ROOT / "weights" / "gpsr_nano_x4.safetensors"
GPSR = (sys.executable, "-m", "gpsr_deploy")
CALL = (
    "import gpsr_deploy, numpy as np\nwith gpsr_deploy.load(scale=4) as upscale: upscale(np.zeros((9, 9, 3), np.uint8))"
)
SIZES = ("--min", "3x3", "--opt", "48x60", "--max", "96x120")

COMMANDS = {
    "infer": (*GPSR, "infer", "p.png", "-o", "o.png"),
    "infer in ONNX Runtime": (*GPSR, "infer", "p.png", "-o", "o.png", "--runtime", "onnxruntime"),
    "infer in OpenVINO": (*GPSR, "infer", "p.png", "-o", "o.png", "--runtime", "openvino"),
    "infer in torch": (*GPSR, "infer", "p.png", "-o", "o.png", "--engine", WEIGHTS),
    "video": (*GPSR, "video", "f.mkv", "-o", "o.mkv"),
    "bench": (*GPSR, "bench", "--size", "12x12", "--rounds", "1", "--warmup", "1"),
    "validate": (*GPSR, "validate", "--reference", WEIGHTS, "--images", "photos"),
    "build": (*GPSR, "build", MODEL, "-o", "x.plan", "--gpu", "8.6", *SIZES),
    "package": (*GPSR, "package", "cpp", "-o", "packed"),
    "inspect": (*GPSR, "inspect", MODEL),
    "doctor": (*GPSR, "doctor"),
    "load": (sys.executable, "-c", CALL),
    "train": (
        *(sys.executable, ROOT / "train" / "train.py", "--model", "nano", "--scale", "4", "--data", "photos", "--out", "run"),
        *("--steps", "2", "--batch", "1", "--patch", "12"),
    ),
    "evaluate": (sys.executable, ROOT / "train" / "evaluate.py", "--engine", MODEL, "photos"),
    "export": (sys.executable, ROOT / "export" / "to_onnx.py", "--scale", "4", "-o", "x.onnx"),
}  # fmt: skip
SLOW = {"export"}


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Path:
    """What notes the sockets of a process."""
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if not compiler or sys.platform != "linux":
        pytest.skip("no C compiler, or no Linux: nothing to note sockets with")

    def make(folder: Path) -> None:
        target = folder / "sockets.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", target, SUPPORT / "sockets.c", "-ldl"], check=True)

    return once(tmp_path_factory, "sockets", make) / "sockets.so"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder to work in, with a picture, photographs and a film."""
    folder = tmp_path / "work"
    (folder / "photos").mkdir(parents=True)
    for path in samples.photographs():
        photo = pyvips.Image.new_from_file(str(path)).crop(0, 0, 96, 84)
        photo.write_to_file(str(folder / "photos" / path.name))
    photo.crop(0, 0, 30, 24).write_to_file(str(folder / "p.png"))
    films.write(folder / "f.mkv", films.moving(2, height=24, width=32))
    return folder


def left(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


def ended(command, here: Path, shim: Path, **environment: str) -> tuple[list[str], str]:
    """Files in the home of a process that had an empty one and no CI around it, and its sockets."""
    home, sockets = here.parent / "home", here.parent / "sockets"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    given = {"HOME": str(home), "LD_PRELOAD": str(shim), "SOCKETS": str(sockets), "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        list(map(str, command)), cwd=here, env=kept | given | environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr
    return left(home), sockets.read_text() if sockets.exists() else ""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in COMMANDS])
def test_a_command_leaves_nothing_at_home_and_opens_no_socket(name: str, here: Path, shim: Path):
    assert ended(COMMANDS[name], here, shim) == ([], "")


def test_these_runtimes_report_home_when_they_are_left_alone(here: Path, shim: Path):
    """Else the tests above could not fail."""
    files, _ = ended([sys.executable, "-c", "import onnxruntime, openvino"], here, shim)
    assert any("onnxruntime" in path for path in files)
    assert any(path.startswith("intel") for path in files)


def test_a_socket_is_noticed(here: Path, shim: Path):
    _, sockets = ended([sys.executable, "-c", "import socket; socket.socket().close()"], here, shim)
    assert "socket(2," in sockets


def test_what_the_user_says_explicitly_wins(here: Path, shim: Path):
    files, _ = ended(COMMANDS["infer in ONNX Runtime"], here, shim, **{silence.ONNXRUNTIME_SWITCH: "0"})
    assert any("onnxruntime" in path for path in files)


def test_the_environment_is_as_it_was_and_so_are_the_modules(monkeypatch):
    monkeypatch.delenv(silence.ONNXRUNTIME_SWITCH, raising=False)
    monkeypatch.delitem(sys.modules, silence.OPENVINO_REPORTER, raising=False)
    with silence.silenced():
        assert os.environ[silence.ONNXRUNTIME_SWITCH] == "1"
        with pytest.raises(ImportError):
            __import__(silence.OPENVINO_REPORTER)
    assert silence.ONNXRUNTIME_SWITCH not in os.environ
    assert silence.OPENVINO_REPORTER not in sys.modules
