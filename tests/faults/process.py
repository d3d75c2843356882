"""Faults of what is around a process: its descriptors, its disk, its memory, its environment, and its own words."""

from __future__ import annotations

import json

import numpy as np
import pyvips

from faults import made
from faults.fault import Circumstances, Fault, anything, picture

PHOTO = made.later(made.photo_file, "PNG")
LARGE = picture(48, 60)
OLD = b"precious, though no picture"
ASCII = {"PYTHONIOENCODING": "ascii:strict"}
POSIX = {"LC_ALL": "POSIX", "LANG": None, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}

CLOSED = "stdout or stderr closed, full or gone"


def cat_named() -> bytes:
    """A model whose name is valid and not ASCII."""
    words = json.loads(made.spec().to_json()) | {"name": "gpsr-\N{CAT FACE}"}
    return made.model(lambda found: made.stating(found, json.dumps(words)))


def infer(
    id: str, around: Circumstances, *more: str, code: int = 0, says: str = "", prints: str = "", bug: str = ""
) -> Fault:
    """A photograph enlarged under these circumstances: done, and with another code too, which is about what is said."""
    return Fault(
        id=id, clause=CLOSED, files={"p.png": PHOTO}, command=["infer", "p.png", *more], code=code, says=says, prints=prints,
        leaves={"p_x4.png": LARGE}, around=around, bug=bug,
    )  # fmt: skip


DESCRIPTORS = [
    infer("stdin closed", Circumstances(closed=[0])),
    infer("stdout closed", Circumstances(closed=[1])),
    infer("stdout closed, and JSON wanted", Circumstances(closed=[1]), "--json"),
    infer("stderr closed", Circumstances(closed=[2])),
    infer("stderr closed, and JSON wanted", Circumstances(closed=[2]), "--json", "-q", prints='{"input"'),
    infer("all three closed", Circumstances(closed=[0, 1, 2])),
    infer("stdout full, and JSON wanted", Circumstances(stdout="/dev/full"), "--json", "-q", code=4, says="error[4] stdout"),
    infer("stderr full", Circumstances(prelude="import os\nos.dup2(os.open('/dev/full', os.O_WRONLY), 2)")),
    infer("the reader of stdout gone", Circumstances(prelude="import os\nr, w = os.pipe()\nos.dup2(w, 1)\nos.close(r)\nos.close(w)")),
    Fault(
        id="the reader of stdout gone, and JSON wanted", clause=CLOSED, files={"p.png": PHOTO}, command=["infer", "p.png", "--json", "-q"], code=4,
        leaves={"p_x4.png": LARGE}, around=Circumstances(prelude="import os\nr, w = os.pipe()\nos.dup2(w, 1)\nos.close(r)\nos.close(w)", closed=[2]),
    ),
    infer("the reader of stderr gone", Circumstances(prelude="import os\nr, w = os.pipe()\nos.dup2(w, 2)\nos.close(r)\nos.close(w)")),
    infer("a terminal with a bar", Circumstances(terminal=True), says="p_x4.png"),
    Fault(
        id="an error on a terminal", clause=CLOSED, files={"p.png": made.later(made.cut, "PNG", 0.7)}, command=["infer", "p.png"], code=3,
        says="error[3] p.png", around=Circumstances(terminal=True),
    ),
    Fault(id="doctor on a full stdout", clause=CLOSED, command=["doctor"], code=4, says="error[4] stdout", around=Circumstances(stdout="/dev/full")),
    Fault(
        id="inspect on a full stdout", clause=CLOSED, files={"m.onnx": made.shipped}, command=["inspect", "m.onnx"], code=4, says="error[4] stdout",
        around=Circumstances(stdout="/dev/full"),
    ),
    Fault(
        id="help on a full stdout", clause=CLOSED, command=["infer", "--help"], code=4, says="error[4] stdout",
        around=Circumstances(stdout="/dev/full"),
    ),
    Fault(
        id="version on a full stdout", clause=CLOSED, command=["--version"], code=4, says="error[4] stdout",
        around=Circumstances(stdout="/dev/full"),
    ),
    Fault(
        id="inspect on a closed stdout", clause=CLOSED, files={"m.onnx": made.shipped}, command=["inspect", "m.onnx"], code=0,
        around=Circumstances(closed=[1]),
    ),
    Fault(id="an error on a closed stderr", clause=CLOSED, command=["infer", "no.png", "-q"], code=3, around=Circumstances(closed=[2])),
]  # fmt: skip


def noise() -> bytes:
    """A picture whose result no encoder makes much smaller."""
    return made.saved(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8), "PNG")


FULL = [
    *(
        Fault(
            id=f"a full disk and {suffix}", clause="a full disk", files={"p.png": noise, f"o.{suffix}": OLD}, command=["infer", "p.png", "-o", f"o.{suffix}", "--overwrite", "-q"],
            code=4, says=f"error[4] o.{suffix}", around=Circumstances(limits={"fsize": 6000}),
        )
        for suffix in ("png", "jpg", "webp", "tif")
    ),
    Fault(
        id="no space on the device", clause="a full disk", files={"p.png": noise, "small/o.png": OLD}, command=["infer", "p.png", "-o", "small/o.png", "--overwrite", "-q"],
        code=4, says="error[4] small/o.png", around=Circumstances(disks={"small": "size=32k"}),
    ),
    Fault(
        id="no room for another file", clause="a full disk", files={"p.png": PHOTO, "small/o.png": OLD}, command=["infer", "p.png", "-o", "small/o.png", "--overwrite", "-q"],
        code=4, says="error[4] small/o.png", around=Circumstances(disks={"small": "nr_inodes=2"}),
    ),
    Fault(
        id="a disk that is full in the middle of a folder", clause="a full disk", files={"in/a.png": PHOTO, "in/b.png": noise, "in/c.png": PHOTO},
        command=["infer", "in", "-o", "small", "-q"], code=8, says="error[4] small/b.png", leaves={"small/a.png": LARGE, "small/c.png": LARGE, "small/.gpsr-run.jsonl": anything}, around=Circumstances(disks={"small": "size=40k"}),
    ),
    Fault(
        id="a full disk and an engine", clause="a full disk", files={"m.onnx": made.shipped, "m.plan": OLD, "m.plan.json": OLD},
        command=["build", "m.onnx", "--overwrite", "-q", "--gpu", "8.9", "--max", "48x48", "--opt", "24x24", "--optimization-level", "0"],
        code=4, says="error[4] m.plan", around=Circumstances(limits={"fsize": 100_000}),
    ),
    Fault(
        id="a full disk for what validate draws", clause="a full disk", files={"pictures/p.png": made.later(made.photo_file, "PNG", 60, 75)},
        command=["validate", "--images", "pictures", "--max-level", "0", "--save", "small", "--json"], code=4, says="error[4] small", prints='"ok": false', around=Circumstances(disks={"small": "size=4k"}),
    ),
    Fault(
        id="no place for temporary files", clause="a full disk", files={"p.png": PHOTO}, command=["infer", "p.png"], code=0,
        leaves={"p_x4.png": LARGE}, around=Circumstances(environment={"TMPDIR": "/nowhere"}),
    ),
]  # fmt: skip


def interlaced() -> bytes:
    """A picture that no decoder gives row by row: 400 MB are in work at once."""
    return pyvips.Image.black(12_000, 12_000, bands=3).copy(interpretation="srgb").pngsave_buffer(interlace=True)


GPU_OF = """
import sys
from gpsr_deploy.backends import onnxruntime
from gpsr_deploy.errors import OutOfMemory
real = onnxruntime.OnnxRuntimeBackend.infer
def infer(self, batch):
    if batch.shape[2] * batch.shape[3] > {pixels}:
        raise OutOfMemory("no GPU memory")
    return real(self, batch)
onnxruntime.OnnxRuntimeBackend.infer = infer
sys.argv += ["--runtime", "onnxruntime"]
"""

AFTER_IMPORTS = """
import sys
import onnx, onnxruntime, pyvips, resource
from gpsr_deploy import backends
from gpsr_deploy.media import images
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.backends import onnxruntime
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {mebibytes} * 2**20,) * 2)
sys.argv += ["--runtime", "onnxruntime"]
"""

MEMORY = [
    Fault(
        id="a GPU that takes half a tile", clause="out of memory", files={"p.png": made.later(made.photo_file, "PNG", 120, 150)}, command=["infer", "p.png", "-t", "150", "-v"],
        code=0, says="tiles of ", leaves={"p_x4.png": picture(480, 600)}, around=Circumstances(prelude=GPU_OF.format(pixels=12_000)),
    ),
    Fault(
        id="a GPU that takes no tile", clause="out of memory", files={"p.png": made.later(made.photo_file, "PNG", 120, 150)}, command=["infer", "p.png"],
        code=6, says="no memory for a tile", around=Circumstances(prelude=GPU_OF.format(pixels=10)),
    ),
    Fault(
        id="a GPU that takes no whole picture", clause="out of memory", files={"p.png": made.later(made.photo_file, "PNG", 120, 150)}, command=["infer", "p.png", "--no-tile"],
        code=6, says="tiles instead of --no-tile", around=Circumstances(prelude=GPU_OF.format(pixels=12_000)),
    ),
    Fault(
        id="no memory for a session", clause="out of memory", files={"p.png": made.later(made.photo_file, "PNG", 256, 256)}, command=["infer", "p.png", "-q", "--threads", "1"],
        code=6, says="error[6]", around=Circumstances(prelude=AFTER_IMPORTS.format(mebibytes=20)),
    ),
    Fault(
        id="no memory for the input", clause="out of memory", files={"p.png": interlaced}, command=["infer", "p.png", "-q", "--threads", "1"],
        code=6, says="error[6] p.png", around=Circumstances(prelude=AFTER_IMPORTS.format(mebibytes=300)),
    ),
    Fault(
        id="few files may be open", clause="out of memory", files={"p.png": PHOTO}, command=["infer", "p.png", "-q"], code=0, leaves={"p_x4.png": LARGE},
        around=Circumstances(limits={"nofile": 16}),
    ),
]  # fmt: skip

ENVIRONMENT = [
    *(
        Fault(
            id=id, clause="an odd environment", files={"\N{CAT FACE}.png": PHOTO}, command=["infer", "\N{CAT FACE}.png"], code=0,
            leaves={"\N{CAT FACE}_x4.png": LARGE}, around=Circumstances(environment=environment),
        )
        for id, environment in {
            "locale C": {"LC_ALL": "C", "LANG": None},
            "locale POSIX without UTF-8": POSIX,
            "an encoding of 7 bits": ASCII,
            "no HOME": {"HOME": None, "XDG_CACHE_HOME": None},
            "a HOME that is not there": {"HOME": "/nowhere"},
            "no PATH": {"PATH": None},
            "no asserts": {"PYTHONOPTIMIZE": "2"},
            "no byte code": {"PYTHONDONTWRITEBYTECODE": "1"},
            "output without buffers": {"PYTHONUNBUFFERED": "1"},
            "libvips with one thread": {"VIPS_CONCURRENCY": "1"},
            "a terminal that is dumb": {"TERM": "dumb", "COLUMNS": "0", "NO_COLOR": "1"},
        }.items()
    ),
    *(
        Fault(
            id=f"a name that is not ASCII and {id}", clause="an odd environment", files={"m.onnx": cat_named}, command=["inspect", "m.onnx"], code=0,
            prints="gpsr-", around=Circumstances(environment=environment),
        )
        for id, environment in {"locale POSIX": POSIX, "an encoding of 7 bits": ASCII, "latin-1": {"PYTHONIOENCODING": "latin-1"}}.items()
    ),
    Fault(
        id="a folder that is gone", clause="an odd environment", command=["infer", "p.png"], code=3, says="error[3] p.png",
        around=Circumstances(prelude="import os, sys\nsys.path[:] = filter(None, sys.path)\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')"),
    ),
    Fault(
        id="a folder that is gone, and another", clause="an odd environment", command=["infer", ".", "-o", "out"], code=3, says="error[3] .",
        around=Circumstances(prelude="import os, sys\nsys.path[:] = filter(None, sys.path)\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')"),
    ),
    Fault(
        id="no onnxruntime", clause="an odd environment", files={"p.png": PHOTO}, command=["infer", "p.png", "--runtime", "onnxruntime"], code=5, says="pip install gpsr-deploy[cpu]",
        around=Circumstances(prelude="import sys\nsys.modules['onnxruntime'] = None"),
    ),
    Fault(
        id="no torch", clause="an odd environment", files={"p.png": PHOTO, "m.safetensors": made.checkpoint}, command=["infer", "p.png", "--engine", "m.safetensors"], code=5, says="pip install gpsr-deploy[",
        around=Circumstances(prelude="import sys\nsys.modules['torch'] = None"),
    ),
    Fault(
        id="no OpenVINO", clause="an odd environment", files={"p.png": PHOTO}, command=["infer", "p.png", "--runtime", "openvino"], code=5, says="pip install gpsr-deploy[openvino]",
        around=Circumstances(prelude="import sys\nsys.modules['openvino'] = None"),
    ),
    Fault(
        id="no TensorRT", clause="an odd environment", files={"m.onnx": made.shipped}, command=["build", "m.onnx"], code=5, says="pip install gpsr-deploy[",
        around=Circumstances(prelude="import importlib.util as u\nfind = u.find_spec\nu.find_spec = lambda name, *a: None if 'tensorrt' in name else find(name, *a)"),
    ),
    Fault(
        id="a shipped model that was touched", clause="a damaged model", files={"p.png": PHOTO}, command=["infer", "p.png"], code=5, says="--force-reinstall",
        around=Circumstances(prelude="from gpsr_deploy import models\nmodels.checksums = lambda: dict.fromkeys(models.SHIPPED.values(), '0' * 64)"),
    ),
]  # fmt: skip

WORDS = {
    "a command that is none": (["enlarge", "p.png"], "invalid choice"),
    "an option that is none": (["infer", "p.png", "--fast"], "unrecognized"),
    "a scale without a model": (["infer", "p.png", "-s", "3"], "no model ships"),
    "a scale that is none": (["infer", "p.png", "-s", "0"], "-s"),
    "a scale beyond every number": (["infer", "p.png", "-s", "9" * 5000], "-s"),
    "a device that is none": (["infer", "p.png", "--device", "tpu"], "device"),
    "tiles and none": (["infer", "p.png", "--no-tile", "-t", "96"], "one of them"),
    "a tile that is none": (["infer", "p.png", "-t", "96x"], "HEIGHTxWIDTH"),
    "a tile below nothing": (["infer", "p.png", "-t", "-3"], "error[2]"),
    "more threads than cores": (["infer", "p.png", "--threads", "100000"], "cores"),
    "a format that is not written": (["infer", "p.png", "-f", "gif"], "format"),
    "an output of a format that is not written": (["infer", "p.png", "-o", "o.bmp"], "suffix"),
    "skipped and replaced": (["infer", "p.png", "--skip-existing", "--overwrite"], "not allowed with"),
    "quiet and not": (["infer", "p.png", "-q", "-v"], "not allowed with"),
    "a runtime for another file": (["infer", "p.png", "--runtime", "torch"], "torch"),
    "no input": (["infer"], "INPUT"),
    "sizes in falling order": (["build", "m.onnx", "--min", "96x96", "--max", "48x48"], "rising order"),
    "a size of nothing": (["build", "m.onnx", "--max", "0x0"], "HEIGHTxWIDTH"),
    "an engine that is named otherwise": (["build", "m.onnx", "-o", "m.engine2"], ".plan"),
    "a GPU that is no number": (["build", "m.onnx", "--gpu", "4090"], "compute capabilities"),
    "layers without a reference": (["validate", "--layers"], "--reference"),
    "a level below nothing": (["validate", "--max-level", "-1"], "--max-level"),
    "a number that is none": (["validate", "--min-psnr", "nan"], "--min-psnr"),
    "a batch of nothing": (["bench", "--batch", "0"], "--batch"),
}  # fmt: skip

USAGE = [
    Fault(
        id=id,
        clause="words that contradict each other",
        files={"p.png": PHOTO, "m.onnx": made.shipped},
        command=command,
        code=2,
        says=says,
    )
    for id, (command, says) in WORDS.items()
]

FAULTS: list[Fault] = [*DESCRIPTORS, *FULL, *MEMORY, *ENVIRONMENT, *USAGE]
