"""The CPU figures of the README, in one run, interleaved; ratios are what counts.

    python benchmarks/cpu.py [--rounds 3] [--threads 2] [--before OTHER/.venv/bin/python]

1. Whole commands, from start to finished file: a 1000x750 picture, 200 of 64x64, a film of 60 frames of 320x180; by default,
   exact, and in ONNX Runtime; and, where `--before` names the Python of another checkout of this project, by that.
2. `infer` within a process against a bare session of the same runtime and precision, warm, on the whole picture in one piece.
3. The network alone on 480x270 LR pixels: ONNX Runtime, OpenVINO in each precision, torch eager as trained.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyvips
import torch

from gpsr_deploy import models, samples
from gpsr_deploy.backends import open_backend
from gpsr_deploy.backends.openvino import OpenVinoBackend, computes_in_bf16
from gpsr_deploy.media import images
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.pictures.infer import infer
from gpsr_deploy.proof import parity
from gpsr_deploy.upscaling.upscale import Tiling

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "weights" / "gpsr_nano_x4.safetensors"
WAYS = {
    "by default": (),
    "--precision fp32": ("--precision", "fp32"),
    "--runtime onnxruntime": ("--runtime", "onnxruntime"),
}


def interleaved(contestants: dict[str, Callable[[], object]], rounds: int, *, warm: bool) -> dict[str, float]:
    """Median seconds of each, taken in turns; after one run of each that does not count, if they are to be `warm`."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + warm):
        for name, run in contestants.items():
            begin = time.perf_counter()
            run()
            if number >= warm:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def show(title: str, medians: dict[str, float], reference: str) -> None:
    """Prints a table; `reference` is 1."""
    print(title)
    for name, median in medians.items():
        print(f"  {name:34} {median:8.3f} s   {median / medians[reference]:5.2f}")


def photograph() -> pyvips.Image:
    """One that ships, 1000x750."""
    path = next(path for path in samples.photographs() if path.stem == "chelsea")
    return pyvips.Image.new_from_file(str(path)).thumbnail_image(1000, height=750, size="force")


def works(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """What whole commands are given: a title, and the words after `gpsr-trt`."""
    photo = photograph().copy_memory()
    photo.write_to_file(str(folder / "photo.png"))
    small = folder / "small"
    small.mkdir()
    for number in range(200):
        photo.crop(number * 4, number * 3, 64, 64).write_to_file(str(small / f"{number:03}.png"))
    film(folder / "film.mkv", photo.numpy())
    out = str(folder / "out")
    yield (
        "infer, 1000x750 to 4000x3000, PNG",
        ["infer", str(folder / "photo.png"), "-o", out + ".png", "--overwrite", "-q"],
    )
    yield "infer, 200 pictures of 64x64", ["infer", str(small), "-o", out, "--overwrite", "-q"]
    yield "video, 60 frames of 320x180", ["video", str(folder / "film.mkv"), "-o", out + ".mkv", "--overwrite", "-q"]


def film(path: Path, photo: np.ndarray) -> None:
    """60 frames of 320x180 that move over a photograph."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(60):
            pixels = np.ascontiguousarray(photo[2 * number : 2 * number + 180, 3 * number : 3 * number + 320])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def whole_commands(*, threads: int, rounds: int, before: Path | None) -> None:
    """Prints the first comparison. The other checkout is 1 where there is one, else ONNX Runtime is."""
    with tempfile.TemporaryDirectory() as name:
        for title, words in works(Path(name)):
            runs: dict[str, Callable[[], object]] = {}
            if before is not None:
                runs["before"] = command(before, words, threads)
            for way, options in WAYS.items():
                if before is not None and way == "--runtime onnxruntime":
                    continue  # which is what ran before
                runs[way] = command(Path(sys.executable), [*words, *options], threads)
            show(title, interleaved(runs, rounds, warm=False), "before" if before else "--runtime onnxruntime")


def command(python: Path, words: list[str], threads: int) -> Callable[[], object]:
    """`gpsr-trt` of the project that a Python belongs to."""
    project = python.absolute().parent.parent.parent
    line = [str(python.absolute()), "-m", "gpsr_deploy", *words, "--threads", str(threads)]
    environment = os.environ | {"PYTHONPATH": str(project)}
    return lambda: subprocess.run(line, check=True, cwd=project, env=environment)


def against_bare(*, threads: int, rounds: int) -> None:
    """Prints the second comparison; the bare session is 1."""
    model = onnx_file.read(models.shipped(4))
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "photo.png", Path(name) / "out.png"
        photograph().write_to_file(str(source))
        pixels = images.read(source).pixels
        lr = parity.padded(pixels.astype(np.float32) / np.float32(255), model.spec.multiple_of)[None]
        for precision in ("fp32", *(["bf16"] if computes_in_bf16() else [])):
            with ExitStack() as stack:
                bare, ours = (
                    stack.enter_context(OpenVinoBackend(model, threads=threads, precision=precision)) for _ in range(2)
                )
                runs: dict[str, Callable[[], object]] = {
                    "bare session, warm, in one piece": lambda bare=bare: bare.infer(lr),
                    "infer, file to file": lambda ours=ours: infer(
                        ours, source, target, tiling=Tiling(), overwrite=True
                    ),
                }
                medians = interleaved(runs, rounds, warm=True)
            show(f"1000x750 in {precision}, OpenVINO", medians, "bare session, warm, in one piece")


def networks(*, threads: int, rounds: int) -> None:
    """Prints the third comparison; ONNX Runtime is 1."""
    torch.set_num_threads(threads)
    network, _ = checkpoint_file.load(WEIGHTS)
    lr = np.random.default_rng(0).random((1, 3, 270, 480), dtype=np.float32)
    files = {"fp32": models.shipped(4), "bf16": models.shipped(4), "int8": models.shipped(4, "int8")}

    def eager() -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(lr))

    with ExitStack() as stack:

        def contestant(runtime: str, precision: str) -> Callable[[], object]:
            opened = open_backend(files[precision], runtime=runtime, precision=precision, threads=threads, device="cpu")
            backend = stack.enter_context(opened)
            return lambda: backend.infer(lr)

        runs = {
            "ONNX Runtime, fp32": contestant("onnxruntime", "fp32"),
            "ONNX Runtime, int8": contestant("onnxruntime", "int8"),
        }
        for precision in ("fp32", *(["bf16"] if computes_in_bf16() else []), "int8"):
            runs[f"OpenVINO, {precision}"] = contestant("openvino", precision)
        runs["torch eager, as trained"] = eager
        show("the network alone, 480x270 LR pixels", interleaved(runs, rounds, warm=True), "ONNX Runtime, fp32")


def main() -> None:
    """Runs all three."""
    parser = argparse.ArgumentParser(description="The CPU figures of the README.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--before", type=Path, metavar="PYTHON", help="of another checkout, to be measured in turns with this"
    )
    options = parser.parse_args()
    print(
        f"{options.threads} threads, medians of {options.rounds}, in turns; bf16: {'yes' if computes_in_bf16() else 'no'}"
    )
    networks(threads=options.threads, rounds=options.rounds)
    against_bare(threads=options.threads, rounds=options.rounds)
    whole_commands(threads=options.threads, rounds=options.rounds, before=options.before)


if __name__ == "__main__":
    main()
