"""How fast a backend is, alone or against another in turns, and what memory it takes. Measures; prints nothing."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from gpsr_deploy.backends import Backend, Batch, sr_shape
from gpsr_deploy.errors import ModelRefused, NonFinite, UsageError
from gpsr_deploy.proof import parity
from gpsr_deploy.spec import Precision, Profile
from gpsr_deploy.upscaling import tiles

Size = tuple[int, int]
"""(height, width) in LR pixels."""

Clock = Callable[[], float]
"""Seconds from some beginning."""

SR_720P = (720, 1280)
"""SR pixels: for this size multiply-adds are stated, and it is measured where no other is asked for."""

LARGEST_COMPARED = (240, 240)
"""LR pixels of each photograph on which two backends are compared."""


@runtime_checkable
class TellsCopies(Protocol):
    """A backend that copies to its device and back, and measures it."""

    @property
    def copy_seconds(self) -> float:
        """What the copies of the last run took."""


@runtime_checkable
class TellsMemory(Protocol):
    """A backend that knows its device's memory."""

    @property
    def peak_bytes(self) -> int:
        """The most that it has held at once so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one 1280x720 SR picture takes."""

    macs_720p: float
    """Multiply-adds."""
    of: Literal["trained", "graph"]
    """The network as it was trained, or the exported graph, whose folds save some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The timed runs of one backend."""

    seconds: tuple[float, ...]
    copy_seconds: float | None
    """Of all of them together; None where the backend does not tell."""
    peak_bytes: int | None
    """Memory on top of that of the opened backend; None where it cannot be known."""

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """Seconds that 95 % of the runs did not exceed: one of the runs, nothing between two."""
        return sorted(self.seconds)[math.ceil(0.95 * len(self.seconds)) - 1]

    @property
    def copies_share(self) -> float | None:
        """Part of the time that went into copies."""
        return None if self.copy_seconds is None else self.copy_seconds / sum(self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is told of one backend: the keys of `bench --json`."""

    engine: str
    """The model's file."""
    runtime: str
    precision: Precision
    """What it computed in."""
    device: str
    ms_median: float
    ms_p95: float
    fps: float
    """Pictures of the measured size per second."""
    tflops: float
    """10^12 floating-point operations per second, two for each multiply-add that `macs` names."""
    macs: Literal["trained", "graph"]
    """Work.of."""
    peak_mib: float | None
    copies_share: float | None


def measure(
    backends: Sequence[Backend], batch: Batch, *, rounds: int, warmup: int, clock: Clock = time.perf_counter
) -> list[Runs]:
    """Runs every backend on `batch`: `warmup` times, one backend after the other, then `rounds` times in turns.

    In turns, since a machine is faster in one minute than in the next. Both numbers are 1 or more: the first run of a
    backend takes memory and time that later ones do not. Raises NonFinite or ModelRefused for a result that is no picture.
    """
    peaks = [_warm_up(backend, batch, warmup, clock) for backend in backends]
    seconds: list[list[float]] = [[] for _ in backends]
    copies: list[list[float]] = [[] for _ in backends]
    for _ in range(rounds):
        for backend, times, copied in zip(backends, seconds, copies, strict=True):
            times.append(_run(backend, batch, clock))
            if isinstance(backend, TellsCopies):
                copied.append(backend.copy_seconds)
    return [
        Runs(seconds=tuple(times), copy_seconds=sum(copied) if copied else None, peak_bytes=peak)
        for times, copied, peak in zip(seconds, copies, peaks, strict=True)
    ]


def _warm_up(backend: Backend, batch: Batch, times: int, clock: Clock) -> int | None:
    """Runs it, and tells what memory that took at its peak."""
    resident = ResidentMemory()
    for _ in range(times):
        _run(backend, batch, clock)
    if isinstance(backend, TellsMemory):
        return backend.peak_bytes
    return resident.rise() if backend.device == "cpu" else None


def _run(backend: Backend, batch: Batch, clock: Clock) -> float:
    """Seconds of one run, its copies included, the check of its result not."""
    begin = clock()
    result = backend.infer(batch)
    seconds = clock() - begin
    if result.shape != sr_shape(batch, backend.spec):
        raise ModelRefused(
            f"the network gives {result.shape} for {batch.shape}", expected=f"scale {backend.spec.scale}, as it says"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(result.sum(dtype=np.float64))
    if not finite:
        raise NonFinite(
            f"{backend.runtime} on {backend.device} gave NaN or infinity",
            expected="finite pixels",
            remedy="the fp32 model",
        )
    return seconds


class ResidentMemory:
    """The memory of this process that is really there, from now on.

    Its peak is read inside the process: what the system tells a parent of a child begins with the parent's own.
    """

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        self._process = process
        with contextlib.suppress(OSError):  # not everybody may; then peaks below earlier ones stay unknown
            (process / "clear_refs").write_text("5", encoding="ascii")
        self._begin, self._highest = self._bytes("VmRSS"), self._bytes("VmHWM")

    def rise(self) -> int | None:
        """Bytes from the beginning to the peak since; None where the system does not tell, or an earlier peak hides it."""
        peak = self._bytes("VmHWM")
        if self._begin is None or self._highest is None or peak is None or peak <= self._highest:
            return None
        return peak - self._begin

    def _bytes(self, field: str) -> int | None:
        try:
            lines = (self._process / "status").read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:")), None)


def work_of(path: Path) -> Work:
    """What the file at `path` states of its model. Raises InputUnreadable or ModelRefused."""
    match path.suffix.lower():
        case ".safetensors":
            from gpsr_deploy.model_files import checkpoint as checkpoint_file

            return Work(macs_720p=checkpoint_file.read_info(path).macs_720p, of="trained")
        case ".onnx":
            from gpsr_deploy.model_files import onnx as onnx_file

            return Work(macs_720p=onnx_file.read(path).costs.macs_720p, of="graph")
        case ".plan" | ".engine":
            from gpsr_deploy.model_files import engine as engine_file

            return Work(macs_720p=engine_file.read(path).spec.costs.macs_720p, of="graph")
        case _:
            raise ModelRefused(
                f"no model is known by the suffix {path.suffix!r}", expected=".onnx, .safetensors or .plan", path=path
            )


def works_of(paths: Sequence[Path], backends: Sequence[Backend]) -> list[Work]:
    """`work_of` each; where all have the same weights and one file states the network as trained, that counts for all."""
    works = [work_of(path) for path in paths]
    trained = [work for work in works if work.of == "trained"]
    alike = len({backend.spec.checkpoint_sha256 for backend in backends}) == 1
    return trained[:1] * len(works) if alike and trained else works


def figures(path: Path, backend: Backend, runs: Runs, *, work: Work, size: Size, batch: int) -> Figures:
    """What is told of `runs`, each of which took `batch` pictures of `size`."""
    scale = backend.spec.scale
    macs = work.macs_720p * batch * (size[0] * scale * size[1] * scale) / (SR_720P[0] * SR_720P[1])
    return Figures(
        engine=str(path),
        runtime=backend.runtime,
        precision=backend.precision,
        device=backend.device,
        ms_median=1000 * runs.median,
        ms_p95=1000 * runs.p95,
        fps=batch / runs.median,
        tflops=2 * macs / runs.median / 1e12,
        macs=work.of,
        peak_mib=None if runs.peak_bytes is None else runs.peak_bytes / (1 << 20),
        copies_share=runs.copies_share,
    )


def size_for(backends: Sequence[Backend], wanted: Size | None, *, batch: int) -> Size:
    """The size to measure: `wanted`, or else that of a 1280x720 SR picture moved into the backends' profiles.

    Rounded up to what they take. Raises UsageError (they have two scales) or ModelRefused (a profile does not take it).
    """
    scales = {backend.spec.scale for backend in backends}
    if len(scales) > 1:
        raise UsageError(
            f"one model enlarges {min(scales)} times, the other {max(scales)} times", expected="models of one scale"
        )
    step = math.lcm(*(backend.spec.multiple_of for backend in backends))
    profiles = [backend.profile for backend in backends if backend.profile is not None]
    scale = scales.pop()
    height, width = (tiles.round_up(side, step) for side in wanted or (side // scale for side in SR_720P))
    size = (height, width)
    if wanted is None:
        size = clipped(size, profiles)
    for profile in profiles:
        if not profile.takes(size) or batch > profile.batch:
            raise ModelRefused(
                f"a batch of {batch} x {size[0]}x{size[1]}",
                expected=f"{profile.min[0]}x{profile.min[1]} to {profile.max[0]}x{profile.max[1]}, up to {profile.batch} "
                "at once, as the engine was built",
                remedy="another --size or --batch, or an engine of another profile",
            )
    return size


def clipped(size: Size, profiles: Sequence[Profile]) -> Size:
    """The size nearest to `size` that every profile takes; where there is none, one that some of them do not take."""
    for profile in profiles:
        size = profile.nearest(size)
    return size


def photographs(size: Size, *, batch: int) -> Batch:
    """A batch of the photographs that ship, in turn, each mirrored up to `size`."""
    pictures = parity.photographs(size)
    chosen = [pictures[number % len(pictures)].transpose(2, 0, 1) for number in range(batch)]
    return np.ascontiguousarray(np.stack(chosen), dtype=np.float32)


def agreement(engine: Backend, other: Backend, *, size: Size) -> parity.Agreement | None:
    """How far `other` is from `engine` on the photographs, cut to `size` or less; None for networks of different weights.

    Raises NonFinite.
    """
    if engine.spec.checkpoint_sha256 != other.spec.checkpoint_sha256:
        return None
    height, width = map(min, size, LARGEST_COMPARED)
    profiles = [backend.profile for backend in (engine, other) if backend.profile is not None]
    pictures = parity.photographs(clipped((height, width), profiles))
    found = parity.backends(engine, other, pictures).agreement()
    if found.non_finite or not found.psnr_db > -math.inf:  # false for NaN too: that of the other
        raise NonFinite(
            f"{engine.runtime} on {engine.device}, or {other.runtime} on {other.device}, gave NaN or infinity",
            expected="finite pixels",
            remedy="the fp32 model",
        )
    return found
