"""Faults of engines: plans and sidecars that are damaged, hostile or of another machine. Needs TensorRT-RTX, but no GPU."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.util import find_spec

import plans

from faults import made
from faults.fault import Circumstances, Content, Fault, holding

PHOTO = made.later(made.photo_file, "PNG")
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
INFER, INSPECT = ["infer", "p.png", "--engine", "x.plan", "-q"], ["inspect", "x.plan"]
BUILD = ["build", "m.onnx", "-o", "x.plan", "-q", "--gpu", "8.9", "--max", "48x48", "--opt", "24x24", "--optimization-level", "0"]  # fmt: skip
OLD = b"an engine of old"


def plan() -> bytes:
    """A real one."""
    return plans.real()[0]


def sidecar(**changes: object) -> bytes:
    """The real one's, with other values at its top."""
    return json.dumps(json.loads(plans.real()[1].to_json()) | changes).encode()


def refused(
    id: str,
    clause: str,
    content: Content = plan,
    beside: Content | None = sidecar,
    *,
    command: list[str] = INFER,
    code: int = 5,
    says: str = "error[5] x.plan",
    **more: object,
) -> Fault:
    """An engine that gives nothing but one line, and that nothing deserialises."""
    files: dict[str, Content] = {"x.plan": content, "p.png": PHOTO}
    if beside is not None:
        files["x.plan.json"] = beside
    return Fault(
        id=id,
        clause=clause,
        files=files,
        command=command,
        code=code,
        says=says,
        around=Circumstances(environment=NO_GPU),
        **more,
    )  # type: ignore[arg-type]


def changed(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """The real plan, changed."""
    return lambda: change(plan())


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut by a byte": lambda content: content[:-1],
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut in its header": lambda content: content[:40],
    "empty": lambda content: b"",
    "flipped in its body": lambda content: made.flipped(content, len(content) // 2, 1),
    "flipped in its header": lambda content: made.flipped(content, 0x18, 1),
    "flipped in its magic": lambda content: made.flipped(content, 0, 1),
    "longer than it was": lambda content: content + b"\0",
    "a picture": lambda content: made.photo_file("PNG"),
    "zeros": lambda content: bytes(len(content)),
}

DAMAGED = [
    *(refused(f"a plan {id}, and {command[0]}", "a damaged plan", changed(change), command=command) for id, change in DAMAGES.items() for command in (INFER, INSPECT)),
    refused("a plan cut by a byte, and bench", "a damaged plan", changed(DAMAGES["cut by a byte"]), command=["bench", "--engine", "x.plan"]),
    refused("a plan cut by a byte, and validate", "a damaged plan", changed(DAMAGES["cut by a byte"]), command=["validate", "--engine", "x.plan"]),
    refused("no plan, though trusted", "a damaged plan", b"not a plan" * 100, None, command=[*INFER, "--trust-engine"], says="no TensorRT plan"),
    refused(
        "a cut plan, though trusted", "a damaged plan", changed(DAMAGES["cut by a byte"]), None, command=[*INFER, "--trust-engine"],
        says="as its header says",
    ),
]  # fmt: skip

SIDECARS = [
    refused("no sidecar", "no sidecar", beside=None, says="--trust-engine"),
    refused("no sidecar, and bench", "no sidecar", beside=None, command=["bench", "--engine", "x.plan"], says="sidecar"),
    Fault(id="no sidecar, and inspect", clause="no sidecar", files={"x.plan": plan}, command=[*INSPECT, "--json"], code=0, prints='"sidecar": null'),
    refused("a sidecar of another plan", "a hostile sidecar", beside=made.later(sidecar, plan_sha256="0" * 64), says="SHA-256"),
    *(
        refused(f"a sidecar {id}", "a hostile sidecar", beside=content, command=command, says="error[5] x.plan.json")
        for id, content, command in (
            ("of depth 10^5", b"[" * 100_000, INFER), ("of depth 10^5 of objects", b'{"a":' * 100_000, INSPECT), ("of a mebibyte", b" " * (1 << 20), INFER), ("that is empty", b"", INFER), ("in UTF-16", "{}".encode("utf-16"), INFER),
            ("of bytes", b"\xff\xfe\xfd", INSPECT), ("that is a list", b"[]", INFER), ("with a path for a checksum", made.later(sidecar, plan_sha256="../../../etc/passwd"), INFER), ("with a runtime that is none", made.later(sidecar, runtime="os.system"), INFER),
            ("with a number beyond all", made.later(sidecar, costs={"params": 10**400, "macs_720p": 1, "activation_bytes": 1}), INSPECT), ("with NaN", made.later(sidecar, weights={"fp32": float("nan")}), INSPECT),
        )
    ),
    refused(
        "a sidecar with an escape sequence", "a hostile sidecar", beside=made.later(sidecar, runtime_version="\x1b[2J\x07</script>"),
        says="\\x1b[2J",
    ),
    refused("a sidecar that says another version", "a hostile sidecar", beside=made.later(sidecar, runtime_version="9.9.9.9"), says="header says"),
    refused("a sidecar that says other GPUs", "a hostile sidecar", beside=made.later(sidecar, compute_capabilities=["9.0"]), says="header says"),
    refused(
        "a sidecar that is a folder", "a hostile sidecar", beside=None, arrange=lambda folder: (folder / "x.plan.json").mkdir(), code=3,
        says="error[3] x.plan.json",
    ),
    refused(
        "a sidecar that is a pipe", "a hostile sidecar", beside=None, arrange=lambda folder: os.mkfifo(folder / "x.plan.json"), code=3,
        says="error[3] x.plan.json",
    ),
    refused(
        "a sidecar that links to itself", "a hostile sidecar", beside=None,
        arrange=lambda folder: (folder / "x.plan.json").symlink_to("x.plan.json"), code=3, says="error[3] x.plan.json",
    ),
    refused(
        "a sidecar that links to a secret", "a hostile sidecar", beside=None,
        arrange=lambda folder: (folder / "x.plan.json").symlink_to("/etc/passwd"), says="error[5] x.plan.json",
    ),
]  # fmt: skip

ABSENT_GPU = [
    refused("an intact engine and no driver", "no driver", says="--device cpu"),
    refused("an intact engine for the CPU", "no driver", command=[*INFER, "--device", "cpu"], says="error["),
    refused("an intact engine and bench", "no driver", command=["bench", "--engine", "x.plan"], says="--device cpu"),
    refused("an intact engine and validate", "no driver", command=["validate", "--engine", "x.plan"], says="--device cpu"),
    refused("a plan that is trusted and no driver", "no driver", beside=None, command=[*INFER, "--trust-engine"], says="--device cpu"),
    refused(
        "a plan of the other TensorRT", "another TensorRT or GPU", command=[*INFER, "--runtime", "tensorrt"], code=2,
        says="error[2] x.plan: --runtime tensorrt with an engine of tensorrt-rtx",
    ),
    refused("an engine of another scale", "another scale", command=[*INFER, "-s", "8"], says="4 times"),
    Fault(
        id="ONNX on a GPU that is not there", clause="no driver", files={"p.png": PHOTO}, command=["infer", "p.png", "--device", "cuda"], code=5,
        says="--device cpu", around=Circumstances(environment=NO_GPU),
    ),
]  # fmt: skip

BUILDS = [
    *(
        Fault(id=id, clause="an engine that cannot be built", files={"m.onnx": content}, command=[*BUILD, *more], code=code, says=says, around=Circumstances(environment=NO_GPU))
        for id, content, more, code, says in (
            ("a GPU that TensorRT-RTX does not know", made.shipped, ["--gpu", "9.0"], 2, "Try: --runtime tensorrt"),
            ("a GPU of the past", made.shipped, ["--gpu", "3.5"], 2, "--gpu 3.5"),
            ("TensorRT, which is not here", made.shipped, ["--runtime", "tensorrt"], 5, "error[5]"),
            ("from a picture", PHOTO, [], 5, "error[5] m.onnx"),
            ("from a cut model", lambda: made.shipped()[:-100], [], 5, "error[5] m.onnx"),
            ("on a GPU that is not there", made.shipped, ["--device", "cuda:7"], 5, "error[5]"),
        )
    ),
    Fault(
        id="an engine over an older one, and no space", clause="an engine that cannot be written",
        files={"m.onnx": made.shipped, "x.plan": OLD, "x.plan.json": OLD}, command=[*BUILD, "--overwrite"], code=4, says="error[4] x.plan",
        around=Circumstances(limits={"fsize": 1 << 20}),
    ),
    Fault(
        id="an engine, and no space on the device", clause="an engine that cannot be written", files={"m.onnx": made.shipped, "small/x.plan": OLD},
        command=["build", "m.onnx", "-o", "small/x.plan", *BUILD[4:], "--overwrite"], code=4, says="error[4] small/x.plan",
        around=Circumstances(disks={"small": "size=1m"}),
    ),
    Fault(
        id="an engine into a folder that is missing", clause="an engine that cannot be written", files={"m.onnx": made.shipped},
        command=["build", "m.onnx", "-o", "no/x.plan", *BUILD[4:]], code=4, says="error[4] no/x.plan",
    ),
    Fault(
        id="an engine that is built", clause="an engine that cannot be built", files={"m.onnx": made.shipped, "x.plan": OLD, "x.plan.json": OLD},
        command=[*BUILD, "--overwrite"], code=0, leaves={"x.plan": holding(b"vtrt"), "x.plan.json": holding(b'"plan_sha256"')},
    ),
]  # fmt: skip


FAULTS: list[Fault] = [*DAMAGED, *SIDECARS, *ABSENT_GPU, *BUILDS] if find_spec("tensorrt_rtx") else []
