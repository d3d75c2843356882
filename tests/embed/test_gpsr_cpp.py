"""The program gpsr-cpp: files in, files out, and the exit codes of gpsr-trt."""

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cpp import REFUSED, UNREADABLE, UNWRITABLE, USAGE, doubled, netpbm, program, require_equal_pixels

from gpsr_deploy import models
from gpsr_deploy.backends.openvino import OpenVinoBackend
from gpsr_deploy.media import images
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.upscaling import upscale


def failed(built, code, match, *words, **options):
    """A run of gpsr-cpp that ends with `code` and one line that matches."""
    ended = program(built, *words, **options)
    assert ended.returncode == code, ended.stderr
    line = ended.stderr.decode()
    assert re.fullmatch(rf"error\[{code}\] [^\n]*{match}[^\n]*\n", line), line
    return line


def formats(built):
    return [".ppm"] if "libpng: not found" in built.said else [".ppm", ".png"]


@pytest.mark.parametrize("lr", ["rgb", "grey", "rgb16", "grey16"])
def test_the_program_makes_the_pixels_of_gpsr_trt_in_every_format(built, doubling, photo, photo_16, tmp_path, lr):
    lr = {"rgb": photo[:60, :71], "grey": photo[:60, :71, 0], "rgb16": photo_16, "grey16": photo_16[:, :, 0]}[lr]
    for suffix in formats(built):
        source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
        if suffix == ".png":
            images.write(source, images.Picture(pixels=lr), overwrite=True)
        else:
            source.write_bytes(netpbm(lr))
        ended = program(built, "--engine", doubling, source, target)
        assert ended.returncode == 0, ended.stderr
        assert b"1 tiles" in ended.stderr
        if suffix == ".png":
            np.testing.assert_array_equal(images.read(target).pixels, doubled(lr))
        else:
            assert target.read_bytes() == netpbm(doubled(lr)).replace(b"# a comment\n", b"")


def test_the_program_runs_the_model_that_ships_where_none_is_named(built, photo, tmp_path):
    lr = photo[:33, :40]
    (tmp_path / "in.ppm").write_bytes(netpbm(lr))
    for scale, words in ((4, []), (8, ["-s", "8"])):
        words = ["-q", "--threads", "1", "--precision", "fp32", *words]
        ended = program(built, *words, tmp_path / "in.ppm", tmp_path / f"{scale}.ppm")
        assert (ended.returncode, ended.stderr) == (0, b"")
        with OpenVinoBackend(onnx_file.read(models.shipped(scale)), threads=1, precision="fp32") as backend:
            expected = upscale.upscale(backend, lr).sr
        pixels = np.frombuffer((tmp_path / f"{scale}.ppm").read_bytes()[-expected.size :], np.uint8).reshape(
            expected.shape
        )
        require_equal_pixels(pixels, expected)


def test_the_program_refuses_what_gpsr_trt_refuses_by_the_same_codes(built, doubling, photo, tmp_path):
    good, out = tmp_path / "in.ppm", tmp_path / "out.ppm"
    good.write_bytes(content := netpbm(photo[:20, :20]))
    (tmp_path / "folder.ppm").mkdir()
    (tmp_path / "cut.ppm").write_bytes(content[:-1])
    (tmp_path / "bomb.ppm").write_bytes(b"P6 2147483647 2147483647 255\n")
    (tmp_path / "bomb2.ppm").write_bytes(b"P6 20000 20000 255\n")
    (tmp_path / "depth.ppm").write_bytes(b"P6 1 1 1023\n" + bytes(6))
    (tmp_path / "junk.ppm").write_bytes(b"<svg/>")
    (tmp_path / "none.ppm").write_bytes(b"")
    engine = ["--engine", doubling]
    for words in ([], [good], [good, out, out], ["--what", good, out], ["-t", "x", good, out], ["-t", "0", good, out],
                  ["--threads", "-1", good, out], ["--engine"], ["-t", "9x9x9", good, out]):  # fmt: skip
        failed(built, USAGE, "Try: gpsr-cpp --help", *words)
    failed(
        built, USAGE, "the output is the input", *engine, good, tmp_path / "folder.ppm" / ".." / "in.ppm", "--overwrite"
    )
    failed(built, USAGE, "device", *engine, "--device", "tpu", good, out)
    failed(built, USAGE, "precision 'fp8'. Expected auto", *engine, "--precision", "fp8", good, out)
    failed(built, USAGE, "precision int8 of a model in fp32", *engine, "--precision", "int8", good, out)
    for name in ("missing", "folder", "cut", "bomb", "bomb2", "depth", "junk", "none"):
        begin = time.perf_counter()
        failed(built, UNREADABLE, f"{name}.ppm: .*", *engine, tmp_path / f"{name}.ppm", out)
        assert time.perf_counter() - begin < 2
    failed(built, UNWRITABLE, "no-folder", *engine, good, tmp_path / "no-folder" / "x.ppm")
    failed(built, UNWRITABLE, "format", *engine, good, tmp_path / "out.webp")
    failed(built, UNWRITABLE, "Is a directory", *engine, "--overwrite", good, tmp_path / "folder.ppm")
    failed(built, UNREADABLE, "No such file", "--engine", tmp_path / "none.onnx", good, out)
    failed(built, REFUSED, "enlarges 2 times", *engine, "-s", "4", good, out)
    failed(built, UNREADABLE, r"a\\x1b\[2J\\x0a.ppm", *engine, tmp_path / "a\x1b[2J\n.ppm", out)
    out.write_bytes(b"precious")
    failed(built, UNWRITABLE, "Try: --overwrite", *engine, good, out)
    assert out.read_bytes() == b"precious"
    assert program(built, *engine, "--overwrite", good, out).returncode == 0
    assert out.read_bytes()[:2] == b"P6"
    assert program(built, "--help").stdout.startswith(b"usage: gpsr-cpp")
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


def test_png_that_is_damaged_or_has_alpha_is_refused(built, doubling, photo, tmp_path):
    if ".png" not in formats(built):
        return
    source = tmp_path / "in.png"
    images.write(source, images.Picture(pixels=photo[:40, :40]))
    content = source.read_bytes()
    for name, damaged in {
        "cut": content[: len(content) // 2], "head": content[:20], "flipped": content[:200] + bytes([content[200] ^ 4]) + content[201:],
        "bomb": content[:16] + (20_000).to_bytes(4) * 2 + content[24:], "tail": content[:-5],
    }.items():  # fmt: skip
        (tmp_path / f"{name}.png").write_bytes(damaged)
        failed(built, UNREADABLE, f"{name}.png", "--engine", doubling, tmp_path / f"{name}.png", tmp_path / "out.png")
    images.write(tmp_path / "alpha.png", images.Picture(pixels=photo[:9, :9], alpha=photo[:9, :9, 0].copy()))
    failed(
        built, UNREADABLE, "alpha.*gpsr-trt infer", "--engine", doubling, tmp_path / "alpha.png", tmp_path / "out.png"
    )
    assert not (tmp_path / "out.png").exists()


def test_a_full_disk_leaves_the_old_file(built, doubling, photo, tmp_path):
    (tmp_path / "in.ppm").write_bytes(netpbm(photo[:60, :60]))
    (tmp_path / "out.ppm").write_bytes(b"precious")
    limit = "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); os.execv(sys.argv[1], sys.argv[1:])"
    words = [built.program("gpsr-cpp"), "--engine", doubling, "--overwrite", tmp_path / "in.ppm", tmp_path / "out.ppm"]
    ended = subprocess.run([sys.executable, "-c", limit, *words], capture_output=True, check=False)
    assert ended.returncode == UNWRITABLE, ended.stderr
    assert b"File too large" in ended.stderr
    assert (tmp_path / "out.ppm").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ppm", "out.ppm"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_program_soon_and_leave_nothing(built, photo, tmp_path, number, code):
    (tmp_path / "in.ppm").write_bytes(netpbm(np.tile(photo, (4, 4, 1))))
    words = [built.program("gpsr-cpp"), "--threads", "1", "-t", "96", tmp_path / "in.ppm", tmp_path / "out.ppm"]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as running:
        time.sleep(1.5)
        begin = time.perf_counter()
        running.send_signal(number)
        assert running.wait() == code
        assert time.perf_counter() - begin < 4
        assert running.stderr.read() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["in.ppm"]
