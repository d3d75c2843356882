"""Programs that are not ours run our models: with our pixels, from folders that `gpsr-trt package` wrote, as docs/embedding says."""

import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import by_ffmpeg, environment, moving, nearest_onnx, see, write
from onnx import TensorProto, helper, numpy_helper
from project import ROOT
from triton_double import serving

from gpsr_deploy import models
from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend
from gpsr_deploy.backends.openvino import OpenVinoBackend
from gpsr_deploy.media import images
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.package import package
from gpsr_deploy.spec import SRSpec
from gpsr_deploy.upscaling import upscale
from gpsr_deploy.upscaling.upscale import Tiling

PAGES = ROOT / "docs" / "embedding"


def blocks(page: str, language: str = "sh") -> list[str]:
    """The code of a page of docs/embedding in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (PAGES / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL)


def typed(line: str, folder: Path, **changes: str) -> subprocess.CompletedProcess:
    """A command that has to end well, as typed in a folder with our programs and ffmpeg on the path; `changes` of the environment."""
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=folder, env=environment(folder) | changes, stdin=subprocess.DEVNULL,
        capture_output=True, check=False, timeout=500,
    )  # fmt: skip
    assert ended.returncode == 0, f"{line}\n{ended.stdout.decode()}\n{ended.stderr.decode()}"
    return ended


def absent(folder: Path, *programs: str) -> list[str]:
    """Those of these programs that do not run there: none is found, or one that is only pyenv's way of saying so."""
    tried = {name: ["bash", "-c", f"{name} --version"] for name in programs}
    return [name for name, command in tried.items() if subprocess.run(command, env=environment(folder), capture_output=True, check=False).returncode]  # fmt: skip


def expected(lr: np.ndarray, *, scale: int = 4) -> np.ndarray:
    """What the model that ships makes of a picture in one piece."""
    with OnnxRuntimeBackend(onnx_file.read(models.shipped(scale)), device="cpu") as backend:
        return upscale.upscale(backend, lr, tiling=Tiling(whole=True)).sr


def require_equal(found: np.ndarray, wanted: np.ndarray, *, share: float = 1e-3) -> None:
    """At most one 8-bit level apart, and that on few pixels: sums in another order may round to the other side."""
    assert found.shape == wanted.shape
    apart = np.abs(found.astype(int) - wanted.astype(int))
    assert apart.max() <= 1
    assert (apart > 0).any(axis=-1).mean() <= share


def network_of(path: Path, weight: np.ndarray, *, halo: int) -> Path:
    """A model of one convolution, (48, 3, side, side), whose channels are laid out as 4 x 4 pixels of 3 colours."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["lr", "weight"], ["spread"], pads=[weight.shape[2] // 2] * 4),
            helper.make_node("DepthToSpace", ["spread"], ["sr"], blocksize=4, mode="CRD"),
        ],
        "one",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("sr", TensorProto.FLOAT, ["n", 3, "H", "W"])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    spec = SRSpec(name="one", scale=4, halo=halo, multiple_of=3, tiling="aligned", dtype="fp32", checkpoint_sha256="0c" * 32)  # fmt: skip
    path.write_bytes(onnx_file.stamped(model, spec))
    return path


@pytest.fixture
def here(tmp_path: Path, photo: np.ndarray) -> Path:
    """A folder with what the documents begin from."""
    images.write(tmp_path / "photo.png", images.Picture(pixels=np.ascontiguousarray(photo[60:101, 90:142])))
    write(tmp_path / "film.mp4", moving(3, height=90, width=160), codec="libx264", sound=True, tick=Fraction(1, 12800))
    return tmp_path


# --- Runtimes that load the ONNX file by themselves ---


@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("runtime", ["opencv", "openvino"])
def test_the_lines_of_libraries_md_run_as_written_and_agree(here: Path, runtime: str, scale: int):
    if runtime == "opencv" and int(cv2.__version__.partition(".")[0]) < 5:
        pytest.skip(f"OpenCV {cv2.__version__} has not the engine of OpenCV 5")
    (program,) = blocks("libraries", f"python {runtime}")
    shutil.copy(models.shipped(scale), here)
    (here / "enlarge.py").write_text(
        program.replace("gpsr_nano_x4", f"gpsr_nano_x{scale}").replace("4 *", f"{scale} *")
    )
    typed("python enlarge.py", here)
    require_equal(images.read(here / "large.png").pixels, expected(images.read(here / "photo.png").pixels, scale=scale))


@pytest.mark.slow
def test_node_agrees(here: Path, photo: np.ndarray):
    """npm fetches onnxruntime-node for it."""
    if missing := absent(here, "node", "npm"):
        pytest.skip(f"no {', '.join(missing)} here")
    (program,) = blocks("libraries", "js")
    shutil.copy(models.shipped(4), here)
    (here / "enlarge.js").write_text(program)
    typed("npm install --no-audit --no-fund onnxruntime-node", here, ONNXRUNTIME_NODE_INSTALL_CUDA="skip")
    lr = np.ascontiguousarray(photo[60:108, 90:150])
    (here / "photo.rgb").write_bytes(lr.tobytes())
    typed("node enlarge.js photo.rgb large.rgb 48 60", here)
    found = np.frombuffer((here / "large.rgb").read_bytes(), np.uint8).reshape(192, 240, 3)
    require_equal(found, expected(lr))


# --- Triton ---


def test_tritons_client_runs_as_documented_and_gives_our_bytes(here: Path):
    package_line, client_line = blocks("triton")
    typed(package_line, here)
    assert "localhost:8000" in client_line
    with serving(here / "for-triton/models") as server:
        typed(client_line.replace("localhost:8000", server.url), here)
        tiled = f"{client_line.strip().replace('localhost:8000', server.url)} --overwrite --tile 72 75"
        typed(
            f"gpsr-trt infer photo.png -o own.png -q --runtime onnxruntime && {tiled.replace('large.png', 'tiled.png')}",
            here,
        )
        typed("gpsr-trt infer photo.png -o own_tiled.png -q --tile 72x75 --runtime onnxruntime", here)
    assert (here / "large.png").read_bytes() == (here / "own.png").read_bytes()
    assert (here / "tiled.png").read_bytes() == (here / "own_tiled.png").read_bytes()
    assert {name for name, _ in server.requests} == {"gpsr_nano_x4"}


def test_tritons_client_sends_no_more_at_once_than_the_server_takes(tmp_path: Path, photo: np.ndarray):
    package("triton", nearest_onnx(tmp_path).rename(tmp_path / "near.onnx"), tmp_path / "out")
    images.write(tmp_path / "photo.png", images.Picture(pixels=np.ascontiguousarray(photo[:100, :200])))
    with serving(tmp_path / "out/models") as server:
        typed(f"python out/client.py photo.png large.png --url {server.url} --tile 36 36", tmp_path)
    assert max(shape[0] for _, shape in server.requests) == 4
    assert sum(shape[0] for _, shape in server.requests) > 8
    wanted = photo[:100, :200].repeat(4, axis=0).repeat(4, axis=1)
    assert np.array_equal(images.read(tmp_path / "large.png").pixels, wanted)


def test_tritons_client_says_what_is_wrong(here: Path):
    typed("gpsr-trt package triton -o out -q", here)
    client = [sys.executable, here / "out/client.py", here / "photo.png", here / "large.png", "--url"]

    def refused(url: str) -> str:
        ended = subprocess.run([*client, url], capture_output=True, text=True, check=False, timeout=60)
        assert (ended.returncode, ended.stderr.count("\n")) == (5, 1), ended.stderr
        return ended.stderr

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # so that nobody else has the port; and nobody listens there
        assert "does not answer" in refused(f"127.0.0.1:{silent.getsockname()[1]}")
    (here / "empty").mkdir()
    with serving(here / "empty") as server:
        assert "no model gpsr_nano_x4" in refused(server.url)
    assert not (here / "large.png").exists()


# --- ffmpeg and GStreamer ---

ELEMENTS = ("decodebin", "qtdemux", "matroskademux", "avdec_h264", "avdec_ffv1", "videoconvert", "y4menc", "y4mdec", "x264enc", "matroskamux")  # fmt: skip
"""Of GStreamer: those that come in plugins, for the films of these tests."""


@functools.cache
def missing_of_gstreamer() -> str:
    """What keeps GStreamer from being tried here; nothing where all of it is there."""
    if shutil.which("gst-launch-1.0") is None or shutil.which("gst-inspect-1.0") is None:
        return "gst-launch-1.0 and gst-inspect-1.0"
    absent = [
        name for name in ELEMENTS if subprocess.run(["gst-inspect-1.0", "--exists", name], check=False).returncode
    ]
    return ", ".join(absent)


@pytest.fixture(params=["ffmpeg", "gstreamer"])
def target(request: pytest.FixtureRequest) -> str:
    """Both whose scripts are pipes; GStreamer only where it is whole, since nothing that pip fetches brings it."""
    if request.param == "gstreamer" and missing_of_gstreamer():
        pytest.skip(f"no {missing_of_gstreamer()}; docs/embedding/gstreamer.md tells what to install")
    return request.param


MATRIX = {"ffmpeg": 1, "gstreamer": 6}
"""H.273's numbers: BT.709, SMPTE 170M."""


def test_the_commands_of_the_pipes_run_as_written(here: Path, target: str):
    lines = [line for block in blocks(target) for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        typed(line, here)
    for name in ("large.mkv", {"ffmpeg": "mirrored.mkv", "gstreamer": "finer.mkv"}[target]):
        found = see(here / name)
        assert (found.size, len(found.frames), found.matrix, found.colour_range) == ((360, 640), 3, MATRIX[target], 1)
        assert ("audio" in found.packets) == (target == "ffmpeg")


def colours_of(path: Path) -> np.ndarray:
    """The mean RGB of each frame, converted by ffmpeg as the film's tags say."""
    exact = "scale=flags=accurate_rnd+full_chroma_int+full_chroma_inp"
    pixels = by_ffmpeg("-i", path, "-vf", exact, "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    size = see(path).size
    return np.frombuffer(pixels, np.uint8).reshape(-1, *size, 3).mean(axis=(1, 2))


@pytest.mark.parametrize("matrix", [1, 6])
def test_pipes_keep_colours_and_take_names_literally(tmp_path: Path, target: str, matrix: int):
    """With a network that changes each colour in its own way, so that a matrix that is wrong both ways shows, too."""
    factors = np.array([1, 0.75, 0.5], np.float32)
    coloured = network_of(tmp_path / "x.onnx", np.diag(factors).repeat(16, axis=0).reshape(48, 3, 1, 1), halo=0)
    package(target, coloured, tmp_path / "folder with 'quotes' $(x)")
    colours = [(90, 100, 180), (140, 170, 90), (120, 128, 128), (100, 110, 90)]
    frames = [tuple(np.full(shape, v, np.uint8) for shape, v in zip([(48, 64), (24, 32), (24, 32)], yuv, strict=True)) for yuv in colours]  # fmt: skip
    film = write(tmp_path / 'a ! b\'s $(touch pwned) "film".mkv', frames, matrix=matrix, colour_range=1)
    large = tmp_path / 'l ! $(touch pwned) ".mkv'
    script = tmp_path / "folder with 'quotes' $(x)" / "film.sh"
    encoder = {"ffmpeg": "-c:v ffv1", "gstreamer": "x264enc pass=quant quantizer=1"}[target]
    names = {"SCRIPT": str(script), "FILM": str(film), "LARGE": str(large), "ENCODER": encoder}
    typed('"$SCRIPT" "$FILM" "$LARGE"', tmp_path, **names)
    wanted, found = colours_of(film) * factors, colours_of(large)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 2  # another matrix is 7 levels away and more
    assert not (tmp_path / "pwned").exists()
    before = large.read_bytes()
    again = subprocess.run([script, film, large], capture_output=True, check=False)
    assert (again.returncode, large.read_bytes()) == (4, before)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith(".part")) == []


@pytest.mark.parametrize(("height", "width"), [(47, 61), (48, 62), (46, 66), (45, 72)])
def test_pipes_keep_every_pixel_of_frames_of_any_size(tmp_path: Path, target: str, height: int, width: int):
    """GStreamer's memory has gaps between such rows, which are no part of y4m."""
    package(target, nearest_onnx(tmp_path), tmp_path / "out")
    frames = moving(3, height=height, width=width)
    write(tmp_path / "film.mkv", frames, matrix=MATRIX[target], colour_range=1)
    encoder = {"ffmpeg": "-c:v ffv1", "gstreamer": "x264enc pass=quant quantizer=1"}[target]
    typed("out/film.sh film.mkv large.mkv", tmp_path, ENCODER=encoder)
    found = see(tmp_path / "large.mkv")
    assert (found.size, len(found.frames)) == ((4 * height, 4 * width), 3)
    for made, planes in zip(found.frames, frames, strict=True):
        luma = made[0].astype(np.float64).reshape(height, 4, width, 4).mean(axis=(1, 3))
        assert np.abs(luma - planes[0]).mean() < 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["text.mp4", "large.mkv"], {"ffmpeg": b"text.mp4", "gstreamer": b"ERROR: from element"}),
        (["film.mp4", "large.mkv", "--tile", "nonsense"], b"argument -t/--tile"),
        (["none.mp4", "large.mkv"], b"none.mp4: No such file"),
        ([], b"usage: "),
    ],
    ids=["decoder", "network", "input", "words"],
)
def test_pipes_fail_where_one_of_them_fails(here: Path, target: str, arguments: list[str], says):
    package(target, nearest_onnx(here), here / "out")
    (here / "text.mp4").write_text("no film")
    ended = subprocess.run(
        ["out/film.sh", *arguments], cwd=here, env=environment(here), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )  # fmt: skip
    assert ended.returncode != 0
    assert (says[target] if isinstance(says, dict) else says) in ended.stderr  # and it is that one which failed
    assert not list(here.glob("large*"))


# --- C++ ---


@pytest.mark.slow
def test_the_commands_of_cpp_md_run_as_written(here: Path):
    if missing := absent(here, "cmake", "c++"):
        pytest.skip(f"no {', '.join(missing)} here")
    for line in blocks("cpp")[0].splitlines():
        typed(line, here)
    frames = by_ffmpeg("-i", here / "film.mp4", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    found = np.frombuffer((here / "large.rgb").read_bytes(), np.uint8).reshape(3, 360, 640, 3)
    with OpenVinoBackend(onnx_file.read(models.shipped(4))) as backend:
        for lr, sr in zip(np.frombuffer(frames, np.uint8).reshape(3, 90, 160, 3), found, strict=True):
            require_equal(sr, upscale.upscale(backend, lr).sr)
        require_equal(
            images.read(here / "large.png").pixels,
            upscale.upscale(backend, images.read(here / "photo.png").pixels).sr,
        )


# --- VapourSynth ---

VAPOURSYNTH = ("vapoursynth", "vapoursynth-mlrt-ort", "vapoursynth-bestsource")
"""Distributions; those of plugins have no module to be found by."""

PYTHON = "GPSR_VAPOURSYNTH_PYTHON"
"""Names a Python that has them, where this one has not."""

PROBE = """
import ctypes, json, sys
import vapoursynth as vs

folder, source, target, height, width, options = sys.argv[1:]
height, width, options = int(height), int(width), json.loads(options)
sys.path.insert(0, folder)
import gpsr_vapoursynth as script

pixels = open(source, "rb").read()
def fill(n, f):
    made = f.copy()
    for plane in range(3):
        for row in range(height):
            begin = 4 * width * (plane * height + row)
            place = made.get_write_ptr(plane).value + row * made.get_stride(plane)
            ctypes.memmove(place, pixels[begin:begin + 4 * width], 4 * width)
    return made

blank = vs.core.std.BlankClip(format=vs.RGBS, width=width, height=height, length=1)
clip = blank.std.ModifyFrame(blank, fill)
script.OVERLAP = options.pop("overlap", script.OVERLAP)
if "matrix" in options:
    clip = clip.resize.Bicubic(format=vs.YUV444P16, matrix_s=options.pop("matrix"))
    if options.pop("untagged", False):
        clip = clip.std.RemoveFrameProps("_Matrix")
try:
    frame = script.upscale(clip, **options).get_frame(0)
except vs.Error as error:
    sys.exit(f"refused: {error}")
with open(target, "wb") as file:
    for plane in range(3):
        file.write(frame[plane].tobytes())
"""


@pytest.fixture(scope="module")
def python_of_vapoursynth() -> str:
    if PYTHON in os.environ:
        return os.environ[PYTHON]
    installed = {found.name.replace("_", "-").lower() for found in metadata.distributions()}
    if missing := sorted(set(VAPOURSYNTH) - installed):
        pytest.skip(f"no {', '.join(missing)} in this Python; {PYTHON} can name one that has them")
    return sys.executable


@pytest.fixture
def through(tmp_path: Path, python_of_vapoursynth: str):
    """Runs a picture, float32 (H, W, 3), through the script of a model; what it says where it is refused."""
    (tmp_path / "probe.py").write_text(PROBE)

    def run(folder: Path, lr: np.ndarray, *, scale: int = 4, **options) -> np.ndarray | str:
        (tmp_path / "lr.raw").write_bytes(np.ascontiguousarray(lr.transpose(2, 0, 1), np.float32).tobytes())
        height, width = lr.shape[:2]
        words = [python_of_vapoursynth, tmp_path / "probe.py", folder, tmp_path / "lr.raw", tmp_path / "sr.raw", height, width, json.dumps(options)]  # fmt: skip
        home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / ".config")}  # whose plugins are none
        ended = subprocess.run(
            list(map(str, words)), env=os.environ | home, capture_output=True, text=True, check=False
        )
        if "refused: " in ended.stderr:
            return ended.stderr.partition("refused: ")[2]
        assert ended.returncode == 0, ended.stderr
        planes = np.frombuffer((tmp_path / "sr.raw").read_bytes(), np.float32)
        return planes.reshape(3, height * scale, width * scale).transpose(1, 2, 0)

    return run


def floats(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("scale", [4, 8])
def test_vapoursynth_gives_our_pixels(tmp_path: Path, photo: np.ndarray, through, scale: int):
    package("vapoursynth", models.shipped(scale), tmp_path / "out")
    lr = floats(photo[60:101, 90:142])  # no multiples of 3
    found, wanted = through(tmp_path / "out", lr, scale=scale), expected(lr, scale=scale)
    assert np.abs(found - wanted).max() < 2e-6


def test_vapoursynth_in_tiles_gives_our_pixels(tmp_path: Path, photo: np.ndarray, through):
    package("vapoursynth", models.shipped(4), tmp_path / "out")
    picture = photo[10:70, 20:252]
    found = through(tmp_path / "out", floats(picture), tile=(60, 210))
    require_equal((found * 255 + 0.5).astype(np.uint8), expected(picture))


REACH = 6


def far_reaching(path: Path, *, size: float = 1.0) -> Path:
    """A network whose result depends on all LR pixels up to REACH away, on none beyond, and so on how much context a tile has."""
    side = 2 * REACH + 1
    return network_of(path, np.full((48, 3, side, side), size / (3 * side * side), np.float32), halo=REACH)


def test_the_overlap_in_the_units_of_vs_mlrt_is_what_the_halo_needs_and_no_more(tmp_path: Path, through):
    """Scale times the halo: with 3 LR pixels less, tiles show."""
    package("vapoursynth", far_reaching(tmp_path / "far.onnx"), tmp_path / "out")
    lr = np.random.default_rng(0).random((80, 170, 3), np.float32)
    whole = through(tmp_path / "out", lr)
    for tile in ((81, 60), (60, 171), (57, 63)):
        assert np.abs(through(tmp_path / "out", lr, tile=tile) - whole).max() < 1e-6
    assert np.abs(through(tmp_path / "out", lr, tile=(57, 63), overlap=4 * REACH - 3) - whole).max() > 1e-3
    assert np.abs(through(tmp_path / "out", lr, tile=(57, 63), overlap=REACH) - whole).max() > 1e-2


def test_vapoursynth_refuses_tiles_that_are_all_overlap_another_model_and_nan(tmp_path: Path, through):
    package("vapoursynth", far_reaching(tmp_path / "far.onnx"), tmp_path / "out")
    lr = np.full((30, 80, 3), 0.9, np.float32)
    assert "at least 51" in through(tmp_path / "out", lr, tile=(30, 48))
    package(
        "vapoursynth", far_reaching(tmp_path / "inf.onnx", size=3e38 * 3 * (2 * REACH + 1) ** 2 / 10), tmp_path / "inf"
    )
    assert "NaN or infinity in frame 0" in through(tmp_path / "inf", lr)
    (tmp_path / "out/far.onnx").write_bytes((tmp_path / "inf/inf.onnx").read_bytes())
    assert "not the file that this script was written for" in through(tmp_path / "out", lr)


@pytest.mark.parametrize(("size", "matrix"), [((30, 60), "170m"), ((6, 1281), "709")])
def test_vapoursynth_takes_clips_without_a_matrix_for_what_their_size_says(tmp_path: Path, through, size, matrix: str):
    package("vapoursynth", nearest_onnx(tmp_path).rename(tmp_path / "near.onnx"), tmp_path / "out")
    colour = np.array([0.2, 0.6, 0.4], np.float32)
    lr = np.broadcast_to(colour, (*size, 3))
    for untagged in (False, True):
        found = through(tmp_path / "out", lr, matrix=matrix, untagged=untagged, tile=(300, 3000))
        assert np.abs(found - colour).max() < 1e-3
    other = through(tmp_path / "out", lr, matrix={"709": "170m", "170m": "709"}[matrix], tile=(300, 3000))
    assert np.abs(other - colour).max() < 1e-3  # tagged


def test_the_commands_of_vapoursynth_md_run_as_written(here: Path, python_of_vapoursynth: str):
    lines = blocks("vapoursynth")[0].splitlines()
    assert len(lines) == 2
    bin = Path(python_of_vapoursynth).parent
    home = {"HOME": str(here), "XDG_CONFIG_HOME": str(here / ".config")}
    typed(f"'{bin / 'vapoursynth'}' config", here, **home)
    (here / ".bin/vspipe").symlink_to(bin / "vspipe")
    for line in lines:
        typed(line, here, **home)
    found = see(here / "large.mkv")
    assert (found.size, len(found.frames), found.matrix) == ((360, 640), 3, 1)
    assert "audio" in found.packets


@pytest.mark.slow
def test_vapoursynth_where_this_python_has_none(tmp_path: Path):
    """The tests above with a Python of its own, 3.12 or later, where pip fetches VapourSynth."""
    places = [*map(str, (Path.home() / ".pyenv/versions").glob("3.1*/bin")), os.environ["PATH"]]
    found = (shutil.which(f"python3.{minor}", path=os.pathsep.join(places)) for minor in (12, 13, 14))
    able = (path for path in found if path and not subprocess.run([path, "-m", "ensurepip", "--version"], check=False).returncode)  # fmt: skip
    python = next(able, None)
    if python is None:
        pytest.skip("VapourSynth needs Python 3.12 or later, with venv and ensurepip; there is none here")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    own = tmp_path / "venv/bin/python"
    wanted = [name for name in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"] if name.startswith("vapoursynth")]  # fmt: skip
    assert len(wanted) == len(VAPOURSYNTH)
    subprocess.run([own, "-m", "pip", "install", "--quiet", *wanted], check=True)
    tests = [
        sys.executable,
        "-m",
        "pytest",
        __file__,
        "-k",
        "vapoursynth or vs_mlrt",
        "-rs",
        "--basetemp",
        tmp_path / "tests",
    ]
    ended = subprocess.run(tests, env=os.environ | {PYTHON: str(own)}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    assert "SKIP" not in ended.stdout
