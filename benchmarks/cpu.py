"""The CPU figures of the README, in one run, interleaved; ratios are what counts.

    python benchmarks/cpu.py [--checkpoint weights/gpsr_nano_x4.safetensors] [--rounds 3]

1. ONNX Runtime on the folded graph against torch eager on the network as trained: same picture, same threads.
2. `gpsr-trt infer`, the whole command, file to file, against the bare session on the same 1000x750 pixels in one piece:
   as its first run in a fresh process, which is what one picture costs, and warm, at its best.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyvips
import torch

from gpsr_deploy import models, samples
from gpsr_deploy.backends import open_backend
from gpsr_deploy.media import images
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.upscaling.upscale import Tiling, upscale

BARE = """
import sys, time
import numpy as np, onnxruntime, pyvips
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
pixels = pyvips.Image.new_from_file(sys.argv[2]).numpy()
height, width = (-(-size // 3) * 3 for size in pixels.shape[:2])
padded = np.pad(pixels, ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0)), mode="edge")
lr = np.ascontiguousarray(padded.transpose(2, 0, 1)[None].astype(np.float32) / 255)
for _ in range(4):
    begin = time.perf_counter()
    session.run(None, {"lr": lr})
    print(time.perf_counter() - begin)
"""


def interleaved(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns after one run to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            begin = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def against_torch(checkpoint: Path, engine: Path, *, threads: int, rounds: int) -> None:
    """Prints the first comparison, for a whole photograph and for a small crop of it."""
    network, _ = checkpoint_file.load(checkpoint)
    torch.set_num_threads(threads)
    photo = images.read(next(path for path in samples.photographs() if path.stem == "chelsea")).pixels
    with open_backend(engine, device="cpu", threads=threads) as backend:
        for lr in (photo[:300, :450], photo[90:210, 150:270]):
            batch = np.ascontiguousarray(lr.transpose(2, 0, 1)[None].astype(np.float32) / 255)

            def eager(batch: np.ndarray = batch) -> object:
                with torch.inference_mode():
                    return network(torch.from_numpy(batch))

            def whole(lr: np.ndarray = lr) -> object:
                return upscale(backend, lr, tiling=Tiling(whole=True))

            def tiled(lr: np.ndarray = lr) -> object:
                return upscale(backend, lr)

            medians = interleaved(
                {"torch eager, as trained": eager, "ONNX Runtime, folded": whole, "the same in tiles": tiled}, rounds
            )
            print(f"{lr.shape[1]}x{lr.shape[0]} LR pixels, {threads} threads, median of {rounds}:")
            for name, median in medians.items():
                print(
                    f"  {name:26} {median:7.3f} s   {medians['torch eager, as trained'] / median:5.2f} times torch's speed"
                )


def against_bare_session(engine: Path, *, threads: int, rounds: int) -> None:
    """Prints the second comparison."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "photo.png", Path(folder) / "out.png"
        photo = pyvips.Image.new_from_file(str(next(path for path in samples.photographs() if path.stem == "chelsea")))
        photo.thumbnail_image(1000, height=750, size="force").write_to_file(str(source))
        command = [
            sys.executable,
            "-m",
            "gpsr_deploy",
            "infer",
            str(source),
            "-o",
            str(target),
            "--engine",
            str(engine),
        ]
        infer, cold, warm = [], [], []
        for _ in range(rounds):
            begin = time.perf_counter()
            subprocess.run([*command, "--overwrite", "-q", "--threads", str(threads)], check=True)
            infer.append(time.perf_counter() - begin)
            bare = [sys.executable, "-c", BARE, str(engine), str(source), str(threads)]
            printed = subprocess.run(bare, check=True, capture_output=True, text=True).stdout.split()
            cold.append(float(printed[0]))
            warm.append(min(map(float, printed[1:])))
    medians = [statistics.median(times) for times in (infer, cold, warm)]
    print(f"1000x750 -> 4000x3000, {threads} threads, median of {rounds}:")
    print(f"  gpsr-trt infer, file to file      {medians[0]:7.2f} s")
    print(
        f"  bare session, first run           {medians[1]:7.2f} s   infer takes {medians[0] / medians[1]:.2f} times that"
    )
    print(
        f"  bare session, warm, best of 3     {medians[2]:7.2f} s   infer takes {medians[0] / medians[2]:.2f} times that"
    )


def main() -> None:
    """Runs both."""
    parser = argparse.ArgumentParser(description="The CPU figures of the README.")
    here = Path(__file__).parent.parent
    parser.add_argument("--checkpoint", type=Path, default=here / "weights" / "gpsr_nano_x4.safetensors")
    parser.add_argument("--engine", type=Path, help="default: the model that ships")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    engine = options.engine or models.shipped(4)
    against_torch(options.checkpoint, engine, threads=options.threads, rounds=options.rounds)
    against_bare_session(engine, threads=options.threads, rounds=options.rounds)


if __name__ == "__main__":
    main()
