"""What the tests of embed/cpp share: its builds, its programs, and what they are compared with."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
from project import ROOT

SOURCE = ROOT / "embed" / "cpp"

# The library through ctypes, and hostile input for it: they lie beside the C++, and tests import their names from here.
sys.path.insert(0, str(SOURCE / "tests"))
from binding import PROGRESS, Library, OpenOptions, Refused, RunOptions, Spec, picture, sized  # noqa: E402, F401
from hostile import (  # noqa: E402, F401
    DOUBLE,
    QUALITY,
    VALID,
    edited,
    hostile_models,
    mutants,
    mutated_models,
    tiny,
    value,
    weights,
    with_quality,
    with_weights,
)  # fmt: skip

BIN = Path(sys.executable).parent
CMAKE, NINJA = (shutil.which(name) or shutil.which(name, path=str(BIN)) for name in ("cmake", "ninja"))
COMPILER = next(filter(shutil.which, ("c++", "g++", "clang++")), None)

OK, USAGE, UNREADABLE, UNWRITABLE, REFUSED, OUT_OF_MEMORY, CANCELLED = 0, 2, 3, 4, 5, 6, 130


def run(*command, **options):
    """A command that has to end well: what it says."""
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@dataclasses.dataclass(frozen=True)
class Build:
    """A build tree, and what CMake said of it."""

    folder: Path
    said: str

    @classmethod
    def found(cls, folder):
        """The finished one in `folder`, or FileNotFoundError."""
        return cls(folder, (folder / "said.txt").read_text())

    def program(self, name):
        return self.folder / "bin" / name

    def library(self, name):
        return Library(self.folder / "lib" / f"lib{name}.so")


def configured(folder, *options):
    """Configures and builds embed/cpp in `folder`; what CMake said is kept there last, as a sign that it is finished."""
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={NINJA}"] if NINJA else []
    found = Path(openvino.__file__).parent / "cmake"
    said = run(CMAKE, "-S", SOURCE, "-B", folder, *generator, f"-DOpenVINO_DIR={found}", "-DGPSR_WERROR=ON", *options)
    run(CMAKE, "--build", folder, "--parallel", "2")
    (folder / "said.txt").write_text(said)
    return Build(folder, said)


def probe(built, part, cases):
    """What gpsr-probe says of each case (bytes or text)."""
    encoded = [case.encode("utf-8", "surrogateescape") if isinstance(case, str) else case for case in cases]
    sent = b"".join(len(case).to_bytes(8, "little") + case for case in encoded)
    ended = subprocess.run([built.program("gpsr-probe"), part], input=sent, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")[-3000:]
    lines = ended.stdout.decode().split("\n")[:-1]
    assert len(lines) == len(cases)
    return lines


def program(built, *words, name="gpsr-cpp", **options):
    return subprocess.run([built.program(name), *words], capture_output=True, check=False, **options)


def refused(status, match, call, *arguments, **options):
    """The line with which a call is refused."""
    with pytest.raises(Refused, match=match) as caught:
        call(*arguments, **options)
    assert caught.value.status == status
    return caught.value.line


def doubled(lr):
    return lr.repeat(2, axis=0).repeat(2, axis=1)


def require_equal_pixels(found, expected):
    """At most one level on 0.01 % of the pixels."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    off = np.abs(found.astype(np.float64) - expected)
    one = 1e-6 if found.dtype == np.float32 else 1 if found.dtype == np.uint8 else 256
    assert off.max() <= one
    assert (off.reshape(*off.shape[:2], -1).max(axis=-1) > 0).mean() <= (1 if found.dtype == np.float32 else 1e-4)


def netpbm(pixels):
    """A PPM or PGM file."""
    height, width = pixels.shape[:2]
    kind, peak = ("P6" if pixels.ndim == 3 else "P5"), np.iinfo(pixels.dtype).max
    return (
        f"{kind}\n# a comment\n{width} {height}\n{peak}\n".encode()
        + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    )
