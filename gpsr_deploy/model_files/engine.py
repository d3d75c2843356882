"""A plan and its sidecar, and what makes an engine unusable here, in plain words. Needs no TensorRT and no GPU.

A plan is native code to whoever deserialises it: nothing does before `read` has found its SHA-256 in the sidecar.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gpsr_deploy import atomic
from gpsr_deploy.errors import InputUnreadable, ModelRefused, OutputUnwritable
from gpsr_deploy.model_files import gate
from gpsr_deploy.spec import MAX_JSON_BYTES, EngineRuntime, EngineSpec

MAX_BYTES = 4 << 30
"""The largest member's engine for six GPUs is a few hundred megabytes."""

HEADER_BYTES = 64

MAGICS: dict[bytes, EngineRuntime] = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
"""First four bytes of a plan. Observed, like all that is read from the header: no document states it."""

CAPABILITY_BITS = {1: "7.5", 2: "8.0", 4: "8.6", 8: "8.9", 16: "12.0", 32: "12.1"}
"""In the mask at 0x20 of a TensorRT-RTX plan."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")

BOUND_TO_RELEASE = "an engine runs in the TensorRT that built it"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeader:
    """What a plan's first 64 bytes tell."""

    runtime: EngineRuntime
    version: str
    """Of the library that built it, four numbers."""
    compute_capabilities: tuple[str, ...]
    """That it was built for; empty where the header does not tell, as TensorRT's does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A plan that is as it was built, and what it is."""

    content: bytes
    spec: EngineSpec
    path: Path


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of the plan at `path` lies: `X.plan.json`."""
    return path.with_name(path.name + ".json")


def has_sidecar(path: Path) -> bool:
    """Whether there is something under the name of the sidecar, readable or not."""
    return os.path.lexists(sidecar_path(path))


def read(path: Path) -> Engine:
    """The engine at `path`: plan and sidecar, found to belong together.

    Raises InputUnreadable (a file is missing) or ModelRefused (damaged, hostile, no plan, no sidecar, another's sidecar).
    """
    content = gate.read(path, most=MAX_BYTES)
    if not has_sidecar(path):
        header(content, path=path)  # for what is no plan at all a sidecar would be no help
    spec = read_sidecar(path)
    found = hashlib.sha256(content).hexdigest()
    if found != spec.plan_sha256:
        raise ModelRefused(
            f"the plan has SHA-256 {found[:16]}..., so it is damaged or not the one that its sidecar describes",
            expected=f"{spec.plan_sha256[:16]}...",
            remedy=f"fetch both files again, or {rebuild(spec)} --overwrite",
            path=path,
        )
    require_same(header(content, path=path), spec, path=path)
    return Engine(content=content, spec=spec, path=path)


def read_foreign(path: Path) -> tuple[bytes, PlanHeader]:
    """A plan that has no sidecar, and what its header tells: for users who say that they trust it."""
    content = gate.read(path, most=MAX_BYTES)
    return content, header(content, path=path)


def read_sidecar(path: Path) -> EngineSpec:
    """What the sidecar of the plan at `path` says. Raises ModelRefused where there is none, or it is none of ours."""
    sidecar = sidecar_path(path)
    if not has_sidecar(path):
        raise ModelRefused(
            f"there is no {sidecar.name} beside the plan",
            expected="the sidecar that `gpsr-trt build` writes: without it nobody knows what the plan is",
            remedy="fetch it too, build the engine again, or --trust-engine if you know where the plan is from",
            path=path,
        )
    try:
        return EngineSpec.from_json(gate.read(sidecar, most=MAX_JSON_BYTES).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ModelRefused("the sidecar is not UTF-8", expected="JSON", path=sidecar) from error
    except (ModelRefused, InputUnreadable) as error:
        error.path = sidecar
        raise


def write(path: Path, content: bytes, spec: EngineSpec, *, overwrite: bool = True) -> None:
    """Plan and sidecar, both or neither. Raises OutputUnwritable, and an engine that is there stays as it is.

    Both are on the disk before one has its name. The sidecar gets it first: who dies between the two leaves no plan, or
    an old one that `read` refuses.
    """
    names = {sidecar_path(path): spec.to_json().encode(), path: content}
    for name in names:
        atomic.require_writable(name)
    try:
        with ExitStack() as stack:
            written = {
                name: _written(*stack.enter_context(atomic.temporary(name)), data) for name, data in names.items()
            }
            with _alone_in(path.parent):
                if not overwrite and any(map(os.path.lexists, names)):
                    raise OutputUnwritable(
                        "there is such a file", expected="a new name", remedy="--overwrite", path=path
                    )
                for name, temporary in written.items():
                    atomic.publish(temporary, name, overwrite=True)
    except OSError as error:
        raise OutputUnwritable(
            f"cannot be written ({error.strerror})", expected="a writable folder with space", path=path
        ) from error


def write_sidecar(path: Path, spec: EngineSpec) -> None:
    """Another sidecar for the plan at `path`. Raises OutputUnwritable, also where another engine lies there by now."""
    with _alone_in(path.parent):
        with suppress(InputUnreadable, ModelRefused):
            if read_sidecar(path).plan_sha256 != spec.plan_sha256:
                raise OutputUnwritable("another engine was written there meanwhile", path=path)
        atomic.write(sidecar_path(path), spec.to_json().encode())


def _written(descriptor: int, name: Path, data: bytes) -> Path:
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.fsync(descriptor)
    return name


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keeps others out of here: two files get their names in two steps. Not where a folder cannot be locked."""
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def header(content: bytes, *, path: Path | None = None) -> PlanHeader:
    """What the first bytes of a plan tell. Raises ModelRefused for what is no plan, or a truncated one."""
    magic = content[:4]
    if len(content) < HEADER_BYTES or magic not in MAGICS:
        raise ModelRefused(
            f"this is no TensorRT plan{_wrapped_plan(content)}",
            expected="a file that begins with ftrt (TensorRT) or vtrt (TensorRT-RTX)",
            remedy="gpsr-trt build MODEL.onnx",
            path=path,
        )
    runtime = MAGICS[magic]
    version = ".".join(str(byte) for byte in content[0x18:0x1C])
    if runtime == "tensorrt":
        return PlanHeader(runtime=runtime, version=version, compute_capabilities=())
    size = int.from_bytes(content[0x10:0x18], "little")
    if size != len(content):
        raise ModelRefused(
            f"the plan has {len(content)} bytes",
            expected=f"{size}, as its header says",
            remedy="fetch it again",
            path=path,
        )
    mask = int.from_bytes(content[0x20:0x24], "little")
    capabilities = tuple(name for bit, name in CAPABILITY_BITS.items() if mask & bit)
    return PlanHeader(runtime=runtime, version=version, compute_capabilities=capabilities)


def require_same(found: PlanHeader, spec: EngineSpec, *, path: Path | None = None) -> None:
    """Raises ModelRefused where a sidecar says of a plan what its header denies: somebody edited one of them."""
    differs = found.runtime != spec.runtime
    if not differs and found.runtime == "tensorrt-rtx":  # of TensorRT's own header we have seen no more than the magic
        differs = not _same_version(found.version, spec.runtime_version)
        differs |= found.compute_capabilities != spec.compute_capabilities
    if differs:
        header_says, sidecar_says = (
            f"{runtime} {version}{' for ' if capabilities else ''}{', '.join(capabilities)}"
            for runtime, version, capabilities in (
                (found.runtime, found.version, found.compute_capabilities),
                (spec.runtime, spec.runtime_version, spec.compute_capabilities),
            )
        )
        raise ModelRefused(
            f"the plan's header says {header_says}, its sidecar {sidecar_says}",
            expected="the same in both",
            remedy="fetch both files again, or build the engine again",
            path=path,
        )


def require_scale(spec: EngineSpec, scale: int | None, *, path: Path | None = None) -> None:
    """Raises ModelRefused where an engine is for another scale than `scale`, if one is asked for."""
    if scale not in (None, spec.sr.scale):
        raise ModelRefused(
            f"the engine enlarges {spec.sr.scale} times",
            expected=f"one for -s {scale}",
            remedy=f"-s {spec.sr.scale}, or {rebuild(spec, model=f'MODEL_x{scale}.onnx')}",
            path=path,
        )


def require_runnable(spec: EngineSpec, *, version: str, compute_capability: str, path: Path | None = None) -> None:
    """Raises ModelRefused where an engine cannot run in this TensorRT or on this GPU.

    `version` is that of the installed library of the engine's runtime, `compute_capability` this GPU's, like `8.9`.
    """
    if not _same_version(spec.runtime_version, version):
        raise ModelRefused(
            f"the engine was built by {spec.runtime} {spec.runtime_version}",
            expected=f"{version}, which is installed here: {BOUND_TO_RELEASE}",
            remedy=rebuild(spec, gpu=compute_capability),
            path=path,
        )
    if compute_capability not in spec.compute_capabilities:
        raise ModelRefused(
            f"the engine was built for GPUs of compute capability {', '.join(spec.compute_capabilities)}",
            expected=f"{compute_capability}, which is this GPU's",
            remedy=rebuild(spec, gpu=compute_capability),
            path=path,
        )


def rebuild(spec: EngineSpec, *, model: str | None = None, gpu: str | None = None) -> str:
    """The command that builds the engine again: for the GPUs that it was for, or for `gpu` where that is none of them.

    It is there to be pasted into a shell: of a sidecar's words only a plain name gets into it.
    """
    low, best, high = (f"{height}x{width}" for height, width in (spec.profile.min, spec.profile.opt, spec.profile.max))
    name = spec.sr.name.replace("-", "_") if _PLAIN_NAME.fullmatch(spec.sr.name) else "MODEL"
    source = model or f"{name}{'' if spec.sr.dtype == 'fp32' else f'_{spec.sr.dtype}'}.onnx"
    runtime, targets = spec.runtime, spec.compute_capabilities
    if gpu is not None and gpu not in targets:
        targets = (gpu,)
        if gpu not in CAPABILITY_BITS.values():
            runtime = "tensorrt"  # the other one does not build for it
    if runtime == "tensorrt" and gpu is None:
        targets = ()  # it builds for the GPU that it runs on
    capability = f" --gpu {','.join(targets)}" if targets else ""
    return (
        f"gpsr-trt build {source} -o {source.removesuffix('.onnx')}.plan --runtime {runtime}{capability} "
        f"--min {low} --opt {best} --max {high} --batch {spec.profile.batch}"
    )


def _same_version(built: str, here: str) -> bool:
    """TensorRT and TensorRT-RTX take only what the very same release wrote; the last number is a build of that release."""
    return built.split(".")[:3] == here.split(".")[:3]


def _wrapped_plan(content: bytes) -> str:
    """What to add about a plan that has a JSON header before it, as another exporter writes it."""
    length = int.from_bytes(content[:4], "little")
    if 0 < length < 1 << 20 and content[4 + length : 8 + length] in MAGICS and re.match(rb"\s*\{", content[4:64]):
        try:
            json.loads(content[4 : 4 + length])
        except (ValueError, RecursionError):
            return ""
        return f", but one begins at byte {4 + length}, after a JSON header"
    return ""
