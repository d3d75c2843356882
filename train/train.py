"""Trains one GPSR network: the recipe, top to bottom.

    python train/train.py --model nano --scale 4 --data PHOTOS --out runs/nano-x4 --minutes 60
    torchrun --nproc-per-node 8 train/train.py --model gpsr --data DIV2K --out runs/gpsr-x4 --steps 1000000 --bf16 --compile

PHOTOS is a folder of pictures, of tar shards, or DIV2K as downloaded; some are kept for validation. The run can be
stopped at any moment and goes on with the same command. It leaves in --out: `last.safetensors` (everything that a resume
needs) and the one before it, `best.safetensors` (the EMA weights with the best validation PSNR: what export/to_onnx.py
takes), `run.json` (recipe, data, machine), `log.jsonl`, `sheets/` and, at the end, `curves.png`.
"""

from __future__ import annotations

import gpsr_deploy.cli.early  # noqa: F401 - first, since what follows takes seconds

# isort: split

import contextlib
import json
import math
import platform
import signal
import time
import zlib
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import curves
import sheet
from data import Photograph, Split, read_split
from degradations import to_8_bit
from gpsr_deploy import atomic, metrics
from gpsr_deploy.cli import output, program
from gpsr_deploy.errors import NonFinite, OutOfMemory, UsageError
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.network.family import MULTIPLE_OF
from gpsr_deploy.network.folds import fold
from gpsr_deploy.network.gpsr import GPSR
from journal import Journal, Line
from losses import gpsr_loss
from options import parse, recipe_of
from patches import Patches
from processes import Processes, WithMaps, join
from state import Recipe, Run, claimed, take_up
from stopwatch import Stopwatch

MAX_SKIPPED = 10
"""Steps in a row whose loss is not finite, after which a run stops."""

MAX_PSNR = 100.0
"""dB that a validation picture counts at most: one that comes out exact, as a white page does, would outweigh all others."""

Forward = Callable[[Tensor], tuple[Tensor, list[Tensor]]]
"""LR to SR and the gradient maps: the network, compiled and distributed as asked."""


def learning_rate(recipe: Recipe, *, step: int, progress: float) -> float:
    """Linear warm-up over `warmup` steps, then a cosine to 1e-7 at progress 1."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return warm * (1e-7 + (recipe.learning_rate - 1e-7) * cosine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """When a run ends: after so many steps, or when so many minutes have been spent in steps."""

    steps: int | None
    minutes: float | None

    def progress(self, run: Run) -> float:
        """How far the run is, from 0 to 1 or a little above."""
        if self.steps is not None:
            return run.step / self.steps
        assert self.minutes is not None, "a run ends by steps or by minutes"
        return run.seconds / (60 * self.minutes)


def train_step(
    run: Run,
    lr: Tensor,
    hr: Tensor,
    *,
    forward: Forward,
    teacher: GPSR | None,
    processes: Processes,
    watch: Stopwatch,
) -> float:
    """One step of Adam and of the EMA; returns the mean loss over all processes, NaN for a step that was skipped.

    A step whose loss or gradient is not finite in any process changes no weights, in none. Raises NonFinite after
    MAX_SKIPPED of them in a row.
    """
    recipe = run.recipe
    with torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=recipe.bf16):
        sr, maps = forward(lr)
        with torch.no_grad():
            taught = None if teacher is None else teacher(lr)
    sr = sr.to(hr.dtype)
    loss = gpsr_loss(sr, [found.to(hr.dtype) for found in maps], hr, alpha=recipe.alpha, beta=recipe.beta)
    if taught is not None:
        loss = loss + recipe.teacher_weight * F.l1_loss(sr, taught.to(hr.dtype))
    watch.lap("forward")
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    watch.lap("backward")
    norm = torch.nn.utils.clip_grad_norm_(run.network.parameters(), recipe.clip)
    here, norm_here = torch.stack([loss.detach(), norm]).tolist()
    mean, norm_everywhere = (total / processes.size for total in processes.sums((here, norm_here), run.device))
    run.step += 1
    if not (math.isfinite(mean) and math.isfinite(norm_everywhere)):
        run.skipped += 1
        if run.skipped > MAX_SKIPPED:
            found = f"{run.skipped} steps in a row without a finite loss and gradient"
            raise NonFinite(found, remedy="a smaller --learning-rate")
        return math.nan
    run.skipped = 0
    run.optimiser.step()
    decay = min(recipe.ema, run.step / (run.step + 9))
    with torch.no_grad():
        torch._foreach_lerp_(list(run.ema.parameters()), list(run.network.parameters()), 1 - decay)
    watch.lap("optimiser")
    return mean


@torch.no_grad()
def validate(network: GPSR, photographs: list[Photograph], device: torch.device) -> float:
    """Mean PSNR on Y over whole pictures, in dB; minus infinity where the network gives NaN."""
    scale = network.config.scale
    values = []
    for photograph in photographs:
        height, width = (size // MULTIPLE_OF * MULTIPLE_OF for size in photograph.lr.shape[1:])
        lr = photograph.lr[None, :, :height, :width].to(device) / 255.0
        found = network(lr)
        if not torch.isfinite(found).all():
            return -math.inf
        sr = to_8_bit(found)[0].permute(1, 2, 0).cpu().numpy()
        hr = photograph.hr[:, : height * scale, : width * scale].permute(1, 2, 0).cpu().numpy()
        values.append(min(metrics.psnr(sr, hr, shave=scale), MAX_PSNR))
    return float(np.mean(values))


def train(
    run: Run,
    *,
    patches: Patches,
    validation: list[Photograph],
    out: Path,
    forward: Forward,
    teacher: GPSR | None,
    processes: Processes,
    length: Length,
    every: int,
    provenance: dict[str, object],
    tensorboard: bool,
    split_time: bool,
) -> None:
    """Steps until `length` is full, with a validation, a log line and a checkpoint every `every` steps.

    SIGINT and SIGTERM end it after the step at hand, with a checkpoint, as SystemExit of 128 + the signal.
    """
    recipe = run.recipe
    ended_by = 0

    def stop(number: int, _frame: object) -> None:
        nonlocal ended_by
        ended_by = number

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)

    watch = Stopwatch(run.device, on=split_time)
    journal = (
        Journal(out, step=run.step, progress=length.progress(run), tensorboard=tensorboard) if processes.leads else None
    )
    share = recipe.batch // processes.size
    before = time.monotonic()
    while length.progress(run) < 1:
        first = run.step * recipe.batch + processes.rank * share
        lr, hr = patches.batch(seed=recipe.seed, first=first, count=share)
        lr = lr.contiguous(memory_format=run.layout)
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step=run.step, progress=length.progress(run))
        watch.lap("data")
        loss = train_step(run, lr, hr, forward=forward, teacher=teacher, processes=processes, watch=watch)
        run.losses.append(loss)
        now = time.monotonic()
        lead, ended = processes.sums(((now - before) * processes.leads, ended_by), run.device)
        run.seconds, before = run.seconds + lead, now
        if journal:
            journal.stepped(step=run.step, progress=length.progress(run), loss=loss, patches=recipe.batch)
        watch.lap("logging")
        boundary = run.step % every == 0 or length.progress(run) >= 1
        if journal and boundary:
            psnr = validate(run.ema, validation, run.device)
            finite_losses = [loss for loss in run.losses if math.isfinite(loss)]
            line = Line(
                step=run.step,
                minutes=round(run.seconds / 60, 2),
                loss=round(float(np.mean(finite_losses)), 6) if finite_losses else None,
                val_psnr=round(psnr, 4) if math.isfinite(psnr) else None,
                learning_rate=run.optimiser.param_groups[0]["lr"],
                skipped=len(run.losses) - len(finite_losses),
            )
            journal.validated(line)
            if psnr > run.best_psnr:
                run.best_psnr = psnr
                trained = provenance | {"recipe": asdict(recipe)} | asdict(line)
                checkpoint_file.save(run.ema, out / "best.safetensors", member=recipe.model, training=trained)
            sheet.write(out / "sheets" / f"{run.step:08}.png", run.ema, validation, device=run.device)
        if boundary:
            run.losses.clear()
        if boundary or ended:
            if processes.leads:
                run.save(out / "last.safetensors")
            before = time.monotonic()  # what is spent here is not training
        watch.lap("validation and checkpoints")
        if ended:
            processes.wait()
            raise SystemExit(128 + (ended_by or signal.SIGTERM))
    if journal:
        journal.close()
        curves.write(out / "curves.png", out / "log.jsonl")
        if split_time:
            output.text(watch.split())
    processes.wait()


def start_from(run: Run, path: Path) -> None:
    """Gives a fresh run the weights of a checkpoint. Raises UsageError for one of another network."""
    network, info = checkpoint_file.load(path)
    if network.config != run.network.config:
        raise UsageError(
            f"--start is {info.name}", expected=f"the network of this run, {run.network.config}", path=path
        )
    run.start_from(network)


def load_teacher(path: Path, run: Run) -> GPSR:
    """A checkpoint as a teacher: folded, frozen, on the run's device. Raises UsageError for one of another scale."""
    network, info = checkpoint_file.load(path)
    if info.scale != run.recipe.scale:
        raise UsageError(f"--teacher is x{info.scale}", expected=f"x{run.recipe.scale}", path=path)
    return fold(network).requires_grad_(False).to(run.device, memory_format=run.layout)


def wrapped(run: Run, processes: Processes, *, compiled: bool) -> Forward:
    """The network as the steps run it."""
    run.network.map_heads.requires_grad_(run.recipe.alpha > 0)  # else no loss reads them
    module: torch.nn.Module = WithMaps(run.network)
    if compiled:
        module.compile()
    return torch.nn.parallel.DistributedDataParallel(module) if processes.size > 1 else module


def hardware(device: torch.device, processes: Processes) -> dict[str, object]:
    """What the run runs on, for run.json and the checkpoint."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type}: {name}",
        "processes": processes.size,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main(arguments: list[str]) -> int:
    """Starts or resumes the run; returns the exit code."""
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = recipe_of(options)
    processes, device = join(torch.device(options.device))
    try:
        if recipe.batch % processes.size:
            raise UsageError(f"--batch {recipe.batch}", expected=f"a multiple of the {processes.size} processes")
        atomic.make_folder(options.out / "sheets")
        with claimed(options.out) if processes.leads else contextlib.nullcontext():
            prepare_and_train(options, recipe, processes, device)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory("the GPU's memory ran out", remedy="a smaller --batch or --patch, or --bf16") from error
    finally:
        processes.close()
    return 0


def prepare_and_train(options: Namespace, recipe: Recipe, processes: Processes, device: torch.device) -> None:
    """A run in its folder, from what is asked for to the end."""
    run = Run(recipe, device, channels_last=options.channels_last)
    if options.start:
        start_from(run, options.start)
    take_up(run, options.out, leads=processes.leads)
    split = read_split(
        options.data,
        scale=recipe.scale,
        degradation=recipe.degradation,
        smallest=recipe.patch,
        validation=options.validation,
        device=device,
    )
    run.train_on(split.fingerprint, path=options.out / "last.safetensors")
    if not all(processes.same(number, device) for number in (run.step, zlib.crc32(split.fingerprint.encode()))):
        raise UsageError(
            "the processes found different checkpoints or pictures", expected="one --out and --data for all"
        )
    length = Length(steps=options.steps, minutes=options.minutes)
    provenance: dict[str, object] = {
        "data": options.data.name,
        "photographs": len(split.training),
        "validation": len(split.validation),
        "length": asdict(length),
        **hardware(device, processes),
    }
    if processes.leads:
        announce(split, run, options.out, provenance)
    patches = Patches(split.training, scale=recipe.scale, patch=recipe.patch, device=device)
    validation = split.validation
    del split  # its pictures lie in `patches` now
    train(
        run,
        patches=patches,
        validation=validation,
        out=options.out,
        forward=wrapped(run, processes, compiled=options.compile),
        teacher=load_teacher(options.teacher, run) if options.teacher else None,
        processes=processes,
        length=length,
        every=options.every,
        provenance=provenance,
        tensorboard=options.tensorboard,
        split_time=options.split_time,
    )


def announce(split: Split, run: Run, out: Path, provenance: dict[str, object]) -> None:
    """Says what the run is about to do, and writes it to run.json; names the pictures that it leaves out."""
    for name in split.left_out:
        output.say(f"warning: {name} cannot be decoded or is smaller than a patch, and is left out")
    output.text(
        f"{len(split.training)} photographs for training, {len(split.validation)} for validation, from step {run.step}"
    )
    description = provenance | {"recipe": asdict(run.recipe), "left_out": split.left_out}
    atomic.write(out / "run.json", json.dumps(description, indent=2).encode() + b"\n")


if __name__ == "__main__":
    program.run(main)
