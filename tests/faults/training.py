"""Faults of the programs that train, evaluate and export: each starts torch, so these are few; more are in their own tests."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

from faults import made
from faults.fault import Circumstances, Content, Fault, Signal, anything
from faults.moments import busy, loading, writing

TRAIN, EVALUATE, EXPORT = "train/train.py", "train/evaluate.py", "export/to_onnx.py"

SHORT = [
    "--data",
    "pictures",
    "--out",
    "run",
    "--model",
    "nano",
    "--scale",
    "4",
    "--steps",
    "6",
    "--every",
    "3",
    "--batch",
    "2",
    "--patch",
    "6",
    "--warmup",
    "2",
    "--threads",
    "1",
    "--device",
    "cpu",
]


def pictures() -> dict[str, Content]:
    """Four small photographs, as files; LR is 12 x 15."""
    return {f"pictures/{name}.png": made.later(crop, index * 50) for index, name in enumerate("abcd")}


def crop(top: int) -> bytes:
    """A part of the photograph."""
    return made.saved(made.photo(256, 256)[top : top + 50, top : top + 62], "PNG")


ONCE = threading.Lock()


def finished() -> dict[str, bytes]:
    """What a run of three steps leaves in its folder, with checkpoints at 2 and 3; made once, by the program itself."""
    with ONCE:
        return _finished()


@cache
def _finished() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as place:
        for name, content in pictures().items():
            path = Path(place, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content())
        short = [*SHORT, "--steps", "3", "--every", "2"]
        subprocess.run([sys.executable, str(made.ROOT / TRAIN), *short], cwd=place, check=True, capture_output=True)
        run = Path(place, "run")
        return {f"run/{path.relative_to(run)}": path.read_bytes() for path in run.rglob("*") if path.is_file()}


def of_run(name: str, change: Callable[[bytes], bytes] = lambda content: content) -> Callable[[], bytes]:
    """A file of the finished run, changed."""
    return lambda: change(finished()[f"run/{name}"])


RUN: dict[str, Content] = {
    f"run/{name}": of_run(name)
    for name in ("last.safetensors", "last.before.safetensors", "best.safetensors", "log.jsonl", "run.json")
}


def train(
    id: str,
    clause: str,
    *more: str,
    code: int,
    says: str = "",
    files: dict[str, Content] | None = None,
    **others: object,
) -> Fault:
    """A run on four pictures."""
    return Fault(
        id=id,
        clause=clause,
        program=TRAIN,
        command=[*SHORT, *more],
        code=code,
        says=says,
        files=pictures() if files is None else files,
        within=120,
        **others,
    )  # type: ignore[arg-type]


def cut(content: bytes) -> bytes:
    """Without its end."""
    return content[:-1000]


TRAINING = [
    train("no pictures", "a missing file", code=3, says="error[3] pictures", files={}, leaves={}, slow=True),
    train(
        "a corrupt picture is left out and named", "a corrupt training picture", "--steps", "1", code=0, says="c.png cannot be decoded",
        files=pictures() | {"pictures/c.png": made.later(made.cut, "PNG", 0.6)}, prints="2 photographs for training",
        leaves={f"run/{name}": anything for name in ("last.safetensors", "best.safetensors", "log.jsonl", "run.json", "curves.png")},
        others_in="run/sheets",
    ),
    train(
        "nothing but corrupt pictures", "a corrupt training picture", code=3, says="error[3] pictures",
        files={f"pictures/{name}.png": b"rubbish" for name in "ab"}, slow=True,
    ),
    train(
        "an archive of pictures that is cut", "a corrupt training picture", "--data", "x.zip", code=3, says="error[3] x.zip",
        files={"x.zip": b"PK\3\4" + bytes(100)}, slow=True,
    ),
    train("another recipe", "another configuration", "--batch", "4", code=2, says="batch: 2 there, 4 here", files=pictures() | RUN),
    train(
        "other pictures", "another configuration", code=2, says="other pictures", files=pictures() | RUN | {"pictures/e.png": made.later(crop, 20)},
        leaves={}, slow=True,
    ),
    train(
        "both checkpoints are corrupt", "a corrupt last checkpoint", code=3, says="error[3] run/last.",
        files=pictures() | RUN | {"run/last.safetensors": of_run("last.safetensors", cut), "run/last.before.safetensors": of_run("last.before.safetensors", cut)},
        slow=True,
    ),
    train(
        "the last checkpoint is corrupt", "a corrupt last checkpoint", "--steps", "3", "--every", "2", code=0,
        says="goes on from the checkpoint before, step 2",
        files=pictures() | RUN | {"run/last.safetensors": of_run("last.safetensors", lambda content: made.flipped(content, len(content) // 2, 1))},
        leaves={f"run/{name}": anything for name in ("last.safetensors", "last.before.safetensors", "last.damaged.safetensors", "best.safetensors", "log.jsonl", "run.json", "curves.png")},
        others_in="run/sheets", prints="step",
    ),
    train("the folder is a file", "training that cannot write", code=4, says="error[4] run", files=pictures() | {"run": b"mine"}),
    train(
        "no space for a checkpoint keeps the one before", "training that cannot write", code=4, says="error[4] run/last", files=pictures() | RUN,
        around=Circumstances(limits={"fsize": 1_000_000}),
        leaves={"run/log.jsonl": anything, "run/run.json": anything, "run/best.safetensors": anything}, others_in="run/sheets", prints="photographs",
    ),
    train(
        "a folder that may not be written", "training that cannot write", code=4, says="Permission denied",
        arrange=lambda folder: (folder / "run").mkdir(mode=0o555), around=Circumstances(unprivileged=True), slow=True,
    ),
    train(
        "a patch that the network cannot take", "words for training that contradict each other", "--patch", "7", code=2, says="a multiple of 3",
        files={}, slow=True,
    ),
    train("no end", "words for training that contradict each other", "--minutes", "1", code=2, says="not allowed with", files={}, slow=True),
    *(
        train(
            f"{number.name} leaves a checkpoint", "signals to training", "--steps", "100000", "--every", "1", code=128 + number, prints="photographs",
            signal=Signal(number=number, when=writing("run/log.jsonl"), within=30.0), slow=number is signal.SIGINT, others_in="run/sheets",
            leaves={f"run/{name}": anything for name in ("run.json", "last.safetensors", "last.before.safetensors", "best.safetensors", "log.jsonl")},
        )
        for number in (signal.SIGTERM, signal.SIGINT)
    ),
    train(
        "SIGINT while torch is imported", "signals to training", code=130,
        signal=Signal(number=signal.SIGINT, when=loading("libtorch_cpu"), within=8.0),
    ),
]  # fmt: skip

EVALUATION = [
    Fault(
        id="evaluate what is missing", clause="a missing file", program=EVALUATE, command=["--engine", "no.onnx", "no"], code=3, says="error[3]",
        within=120, slow=True,
    ),
]  # fmt: skip


def export(
    id: str,
    clause: str,
    checkpoint: Content,
    *more: str,
    code: int,
    says: str = "error[5] m.safetensors",
    **others: object,
) -> Fault:
    """The x4 weights, exported."""
    return Fault(
        id=id,
        clause=clause,
        program=EXPORT,
        files={"m.safetensors": checkpoint},
        command=["--checkpoint", "m.safetensors", "-o", "x.onnx", *more],
        code=code,
        says=says,
        within=120,
        **others,
    )  # type: ignore[arg-type]


EXPORTS = [
    export("a cut checkpoint", "a checkpoint that cannot be exported", lambda: made.checkpoint()[:-1], code=5),
    export("a flipped checkpoint", "a checkpoint that cannot be exported", lambda: made.flipped(made.checkpoint(), -5000, 4), code=5, slow=True),
    export(
        "a checkpoint of another member", "a checkpoint that cannot be exported", made.checkpoint, "--model", "lite", code=5, says="--model nano",
        slow=True,
    ),
    export("a checkpoint that is a pickle", "a checkpoint that cannot be exported", b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.", code=5),
    export("a place that is none", "an export that cannot be written", made.checkpoint, "-o", "no/x.onnx", code=4, says="error[4] no/x.onnx"),
    export("an output of another kind", "an export that cannot be written", made.checkpoint, "-o", "x.plan", code=2, says=".onnx", slow=True),
    export(
        "SIGTERM in the export", "signals to an export", made.checkpoint, code=143, signal=Signal(number=signal.SIGTERM, when=busy(6.0)), says="",
        slow=True,
    ),
    export(
        "SIGINT while torch is imported", "signals to an export", made.checkpoint, code=130,
        signal=Signal(number=signal.SIGINT, when=loading("libtorch_cpu"), within=8.0), says="",
    ),
]  # fmt: skip

FAULTS: list[Fault] = [*TRAINING, *EVALUATION, *EXPORTS]
