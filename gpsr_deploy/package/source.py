"""A model to be packed, as the gate read it, and the lines that say in each written file from which model it came."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gpsr_deploy import __version__
from gpsr_deploy.errors import ModelRefused
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files import gate
from gpsr_deploy.spec import MAX_JSON_BYTES, EngineSpec, Profile, SRSpec
from gpsr_deploy.upscaling.tiles import round_up

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")

LARGEST_MEMORY = 2 << 30
"""Bytes that a tile of an ONNX model may take: vs-mlrt's overlap is dear, so that small tiles would be mostly overlap."""

OVERHEAD = 1.6
"""Process memory in ONNX Runtime for one byte of live activations; see backends/onnxruntime.py."""

TILE, BATCH = 240, 4
"""LR pixels a side, and tiles at once, of an ONNX model, which takes any: what `gpsr-trt build` takes by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model file that the gate has let pass."""

    content: bytes
    sidecar: bytes | None
    """The engine's, as it lies on the disk; None: an ONNX model, which carries its spec within."""
    name: str
    """Plain: letters, digits, `_` and `-`. The file's own where that is plain, else one of the scale."""
    sr: SRSpec
    bytes_per_pixel: int
    """Working memory per LR pixel of a run, estimated."""
    engine: EngineSpec | None
    """None: an ONNX model."""
    warnings: tuple[str, ...] = ()
    """What its user should know of it, one clause each."""

    @property
    def file(self) -> str:
        """Name under which programs get it."""
        return f"{self.name}.{'onnx' if self.engine is None else 'plan'}"

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def profile(self) -> Profile:
        """Sizes that a run may have: the engine's, or what memory allows an ONNX model, which takes any."""
        if self.engine is not None:
            return self.engine.profile
        step = self.sr.multiple_of
        side = round_up(int((LARGEST_MEMORY / self.bytes_per_pixel) ** 0.5) - step, step)
        largest = max(side, round_up(3 * self.sr.scale * self.sr.halo, step) + step)
        best = min(round_up(TILE, step), largest)
        return Profile(min=(step, step), opt=(best, best), max=(largest, largest), batch=BATCH)


def read(path: Path, *, scale: int | None = None) -> Source:
    """The .plan or .onnx file at `path`. Raises InputUnreadable or ModelRefused, also for another `scale`."""
    match path.suffix.lower():
        case ".plan" | ".engine":
            source = _engine(path, scale)
        case ".onnx":
            source = _onnx(path)
        case ".safetensors":
            raise ModelRefused(
                "other programs run no .safetensors file",
                expected=".plan or .onnx",
                remedy="python export/to_onnx.py",
                path=path,
            )
        case _:
            raise ModelRefused(f"no model is known by the suffix {path.suffix!r}", expected=".plan or .onnx", path=path)
    if scale not in (None, source.sr.scale):
        raise ModelRefused(
            f"the model enlarges {source.sr.scale} times", expected=f"one for scale {scale}, as asked", path=path
        )
    return source


def _engine(path: Path, scale: int | None) -> Source:
    engine = engine_file.read(path)
    engine_file.require_scale(engine.spec, scale, path=path)
    sidecar = gate.read(engine_file.sidecar_path(path), most=MAX_JSON_BYTES)
    if EngineSpec.from_json(sidecar.decode("utf-8", "replace")) != engine.spec:
        raise ModelRefused("the sidecar was written anew meanwhile", remedy="again", path=path)
    spec = engine.spec
    return Source(
        content=engine.content,
        sidecar=sidecar,
        name=_plain_name(path, spec.sr.scale),
        sr=spec.sr,
        bytes_per_pixel=spec.costs.activation_bytes,
        engine=spec,
    )


def _onnx(path: Path) -> Source:
    from gpsr_deploy.model_files import onnx as onnx_file  # which brings onnx, and engines need none

    model = onnx_file.read(path)
    return Source(
        content=model.content,
        sidecar=None,
        name=_plain_name(path, model.spec.scale),
        sr=model.spec,
        bytes_per_pixel=int(model.costs.activation_bytes * OVERHEAD),
        engine=None,
        warnings=model.warnings,
    )


def _plain_name(path: Path, scale: int) -> str:
    return path.stem if _PLAIN.fullmatch(path.stem) else f"gpsr_x{scale}"


def model_files(source: Source, name: str) -> dict[str, bytes]:
    """The model under `name`, and its sidecar beside it."""
    return {name: source.content} | ({f"{name}.json": source.sidecar} if source.sidecar is not None else {})


def facts(source: Source, target: str) -> tuple[str, ...]:
    """From which model a written file came: lines of printable ASCII, the same whenever and wherever they are made.

    Of a file's words only the network's name gets into them, percent-encoded: it could be anything.
    """
    sr, engine = source.sr, source.engine
    lines = [f"Written by gpsr-deploy {__version__}: gpsr-trt package {target}"]
    lines.append(f"Model: {shown(sr.name)}, {sr.dtype}, {sr.scale} times larger, halo of {sr.halo} LR pixels")
    if engine is None:
        lines.append(f"SHA-256 of the ONNX model: {source.sha256}")
    else:
        gpus = ", ".join(engine.compute_capabilities)
        low, high = (f"{height}x{width}" for height, width in (engine.profile.min, engine.profile.max))
        lines.append(f"Engine: {engine.runtime} {engine.runtime_version}, for GPUs of compute capability {gpus}")
        lines.append(f"Takes {low} to {high} LR pixels, up to {engine.profile.batch} at once")
        lines.append(f"SHA-256 of the plan: {engine.plan_sha256}")
        lines.append(f"SHA-256 of its ONNX model: {engine.onnx_sha256}")
    lines.append(f"SHA-256 of the checkpoint: {sr.checkpoint_sha256}")
    return tuple(lines)


def shown(name: str) -> str:
    """`name` with everything but letters, digits and `_.-~` as %XX: nothing that any language takes for its own."""
    return quote(name, safe="")
