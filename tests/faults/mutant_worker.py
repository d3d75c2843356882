"""A process that enlarges one mutant after another, and says a line about each: how it ended and how long that took.

    python mutant_worker.py KIND FIRST COUNT FOLDER

A line is `SEED refused CODE SECONDS`, `SEED enlarged 0 SECONDS`, or `SEED decoded 0 SECONDS` for one that claims, and has,
so many pixels that to enlarge them is honest work of more than a moment; SECONDS are of CPU time. Anything else is a fault,
and ends the process.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np
from PIL import Image

from faults.mutate import mutant
from faults.seeds import seeds
from gpsr_deploy.errors import GpsrError, InputUnreadable, OutOfMemory, OutputUnwritable
from gpsr_deploy.media import images
from gpsr_deploy.pictures.infer import infer
from gpsr_deploy.spec import Profile, SRSpec
from gpsr_deploy.upscaling.upscale import Tiling

SCALE = 2
MEMORY = 2 << 30
"""Bytes of address space."""

HONEST_WORK = 1 << 20
"""Pixels above which a picture is decoded, and not enlarged."""


@dataclass
class Nearest:
    """Repeats every pixel."""

    spec: SRSpec = SRSpec(name="nearest", scale=SCALE, halo=0, multiple_of=1, tiling="aligned", dtype="fp32", checkpoint_sha256="0" * 64)  # fmt: skip
    profile: Profile | None = None
    runtime: str = "nearest"
    precision: str = "fp32"
    device: str = "cpu"
    bytes_per_pixel: int = 100

    def infer(self, batch: np.ndarray) -> np.ndarray:
        """See Backend.infer."""
        return batch.repeat(SCALE, axis=2).repeat(SCALE, axis=3)

    def close(self) -> None:
        """Nothing to free."""

    def __enter__(self) -> Nearest:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def attempt(source: Path, target: Path) -> str:
    """How it ends with the mutant at `source`: `refused CODE`, or another word and 0. Asserts that the output is whole or absent."""
    try:
        header = images.probe(source)
        if header.height * header.width > HONEST_WORK:
            images.read(source)
            return "decoded 0"
        infer(Nearest(), source, target, tiling=Tiling(), overwrite=False)
    except (InputUnreadable, OutputUnwritable, OutOfMemory) as error:
        assert not target.exists(), "a refused picture has an output"
        assert str(error).isprintable(), "the refusal is not one line"
        return f"refused {error.exit_code}"
    except GpsrError as error:
        raise AssertionError(f"a picture ended with {error.exit_code}") from error
    with Image.open(target) as made:
        made.load()  # Pillow raises where the file is not whole
        assert made.size == (header.width * SCALE, header.height * SCALE), "the output is not as large as it should be"
    return "enlarged 0"


def main(kind: str, first: int, count: int, folder: Path) -> None:
    """The mutants of these numbers."""
    seeds(kind)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    source, target = folder / "mutant", folder / "large.png"
    for seed in range(first, first + count):
        source.write_bytes(mutant(kind, seed))
        begin = time.process_time()
        how = attempt(source, target)
        print(seed, how, f"{time.process_time() - begin:.3f}", flush=True)
        target.unlink(missing_ok=True)
        left = [path.name for path in folder.iterdir() if path != source]
        assert not left, left


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
