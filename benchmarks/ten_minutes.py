"""Shows that ten minutes of training on a CPU leave bicubic behind by 1.9 dB on Set5: trains `nano` x4, then evaluates.

    python benchmarks/ten_minutes.py PHOTOS SET5 [--threads N]

PHOTOS is what train/train.py takes as --data, SET5 the test set's folder. Ends with 1 where the gain is smaller.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TRAIN = Path(__file__).parent.parent / "train"

GOAL = 1.9
"""dB over bicubic."""


def psnr(set5: Path, *options: str) -> float:
    """What train/evaluate.py finds."""
    command = [sys.executable, str(TRAIN / "evaluate.py"), *options, "--json", str(set5)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["psnr"])


def main() -> int:
    """Prints both figures; 0 where the goal is reached."""
    parser = argparse.ArgumentParser(description="Train nano x4 for some minutes, then compare with bicubic.")
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("set5", type=Path, metavar="SET5")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, str(TRAIN / "train.py"), "--model", "nano", "--scale", "4", "--bf16", "--device", "cpu",
            "--data", str(options.photos), "--out", folder, "--minutes", str(options.minutes),
            "--threads", str(options.threads), "--every", "500",
        ]  # fmt: skip
        subprocess.run(command, check=True)
        trained = psnr(options.set5, "--engine", str(Path(folder) / "best.safetensors"))
    bicubic = psnr(options.set5, "--bicubic")
    print(f"bicubic {bicubic:.2f} dB, after {options.minutes:g} minutes {trained:.2f} dB: {trained - bicubic:+.2f} dB")
    return 0 if trained - bicubic >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
