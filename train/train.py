"""Trains one GPSR network: the recipe, top to bottom.

    python train/train.py --model nano --scale 4 --data PHOTOS --out runs/nano-x4 --minutes 60

PHOTOS is a folder of pictures or of tar shards; the last shard (or every 20th picture) is kept for validation. The run
can be stopped at any moment and goes on with the same command. It leaves in --out: `last.safetensors` (everything that
a resume needs), `best.safetensors` (the EMA weights with the best validation PSNR: what export/to_onnx.py takes) and
`log.jsonl`.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import platform
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from data import Photograph, read_photographs, sample_batch
from degradations import to_8_bit
from gpsr_deploy import atomic, checkpoint_file, metrics
from gpsr_deploy.cli import program
from gpsr_deploy.cli.arguments import positive
from gpsr_deploy.errors import InputUnreadable, NonFinite, UsageError
from gpsr_deploy.network import GPSR, build
from losses import gpsr_loss

MAX_SKIPPED = 10
"""Steps in a row whose loss is not finite, after which a run stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What determines the weights. A resumed run must have the same, but for its length."""

    model: str
    scale: int
    batch: int
    """LR patches per step."""
    patch: int
    """LR pixels per side of a patch, a multiple of 3."""
    learning_rate: float
    """Peak of the cosine."""
    warmup: int
    """Steps of linear warm-up."""
    clip: float
    """Largest norm of the gradient."""
    ema: float
    """Decay per step of the averaged weights."""
    seed: int
    bf16: bool
    """Forward pass under bfloat16 autocast."""


class Run:
    """The state of a training run: everything that changes from step to step."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.network = build(recipe.model, scale=recipe.scale).to(device, memory_format=torch.channels_last)  # type: ignore[arg-type,call-overload]
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.999), eps=1e-8
        )
        self.step = 0
        self.seconds = 0.0
        self.best_psnr = -math.inf
        self.losses: list[float] = []  # since the last line of the log
        self.skipped = 0  # steps without a finite loss, in a row

    def tensors(self) -> dict[str, Tensor]:
        """Network, EMA and optimiser under one roof of names."""
        named = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        named |= {f"ema.{key}": value for key, value in self.ema.state_dict().items()}
        for (name, _), state in zip(
            self.network.named_parameters(), self.optimiser.state_dict()["state"].values(), strict=False
        ):
            named |= {f"adam.{name}.{key}": value for key, value in state.items()}
        return {key: value.detach().cpu().contiguous().clone() for key, value in named.items()}

    def save(self, path: Path) -> None:
        """Everything a resume needs, atomically."""
        metadata = {
            "recipe": json.dumps(asdict(self.recipe)),
            "step": str(self.step),
            "seconds": repr(self.seconds),
            "best_psnr": repr(self.best_psnr),
            "losses": json.dumps(self.losses),
            "skipped": str(self.skipped),
        }
        tensors = self.tensors()
        metadata["sha256"] = checksum(tensors)
        fresh = path.with_stem(f"{path.stem}.next")
        atomic.write(fresh, safetensors.torch.save(tensors, metadata=metadata))
        if path.exists():
            path.replace(previous(path))
        fresh.replace(path)

    def resume(self, path: Path) -> None:
        """Takes up what `save` wrote. Raises UsageError where the recipe differs, InputUnreadable where it is damaged."""
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                metadata = file.metadata()
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            if checksum(tensors) != metadata["sha256"]:
                raise ValueError("the tensors are not those that were written")
            losses, skipped = json.loads(metadata["losses"]), int(metadata["skipped"])
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputUnreadable(
                "the run's last state is damaged", remedy="remove it to start anew", path=path
            ) from error
        saved, wanted = json.loads(metadata["recipe"]), asdict(self.recipe)
        different = [
            f"{key}: {saved.get(key)} there, {value} here" for key, value in wanted.items() if saved.get(key) != value
        ]
        if different:
            raise UsageError(
                "the run was started with another recipe (" + "; ".join(different) + ")",
                remedy="the same options, or another --out",
                path=path,
            )
        for prefix, network in (("network.", self.network), ("ema.", self.ema)):
            network.load_state_dict(
                {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            )
        state = self.optimiser.state_dict()
        for number, (name, _) in enumerate(self.network.named_parameters()):
            prefix = f"adam.{name}."
            found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            if found:
                state["state"][number] = found
        self.optimiser.load_state_dict(state)
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.best_psnr = float(metadata["best_psnr"])
        self.losses, self.skipped = losses, skipped


def checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes, in the order of the names: safetensors itself notices no flipped bit."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def previous(path: Path) -> Path:
    """Where the checkpoint before `path` is kept."""
    return path.with_stem(f"{path.stem}.before")


def take_up(run: Run, out: Path) -> None:
    """Resumes from the last checkpoint that is whole, and takes log lines back that came after it."""
    last = out / "last.safetensors"
    for path in (last, previous(last)):
        if not path.exists():
            continue
        try:
            run.resume(path)
            break
        except InputUnreadable as error:
            print(f"warning: {error}", file=sys.stderr)
            if path != last or not previous(last).exists():
                raise
            path.replace(path.with_stem(f"{path.stem}.damaged"))  # never to take the place of the good one
    log = out / "log.jsonl"
    if log.exists():
        kept = [line for line in log.read_text().splitlines() if _logged_step(line) <= run.step]
        atomic.write(log, "".join(f"{line}\n" for line in kept).encode())


def _logged_step(line: str) -> float:
    """The step of a line of the log; infinite for a line that a kill or a full disk cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def learning_rate(recipe: Recipe, *, step: int, progress: float) -> float:
    """Linear warm-up over `warmup` steps, then a cosine to 1e-7 at progress 1."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return warm * (1e-7 + (recipe.learning_rate - 1e-7) * cosine)


def train_step(run: Run, lr: Tensor, hr: Tensor) -> float:
    """One step of Adam and of the EMA; returns the loss."""
    recipe = run.recipe
    with torch.autocast(lr.device.type, dtype=torch.bfloat16, enabled=recipe.bf16):
        sr, maps = run.network.forward_with_maps(lr)
    loss = gpsr_loss(sr.float(), [found.float() for found in maps], hr)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(run.network.parameters(), recipe.clip)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        run.skipped += 1
        run.step += 1
        if run.skipped > MAX_SKIPPED:
            found = f"{run.skipped} steps in a row without a finite loss and gradient"
            raise NonFinite(found, remedy="a smaller --learning-rate")
        return math.nan
    run.skipped = 0
    run.optimiser.step()
    decay = min(recipe.ema, (run.step + 1) / (run.step + 10))
    with torch.no_grad():
        torch._foreach_lerp_(list(run.ema.parameters()), list(run.network.parameters()), 1 - decay)
    run.step += 1
    return loss.item()


@torch.no_grad()
def validate(network: GPSR, photographs: list[Photograph], device: torch.device) -> float:
    """Mean PSNR on Y over whole pictures, in dB; minus infinity where the network gives NaN."""
    scale = network.config.scale
    values = []
    for photograph in photographs:
        height, width = (size // 3 * 3 for size in photograph.lr.shape[1:])
        lr = photograph.lr[None, :, :height, :width].to(device, torch.float32) / 255.0
        found = network(lr)
        if not torch.isfinite(found).all():
            return -math.inf
        sr = to_8_bit(found)[0].permute(1, 2, 0).cpu().numpy()
        hr = photograph.hr[:, : height * scale, : width * scale].permute(1, 2, 0).numpy()
        values.append(metrics.psnr(sr, hr, shave=scale))
    return float(np.mean(values))


def train(
    run: Run,
    *,
    photographs: list[Photograph],
    validation: list[Photograph],
    out: Path,
    device: torch.device,
    steps: int | None,
    minutes: float | None,
    every: int,
    provenance: dict[str, object],
) -> None:
    """Steps until `steps` or `minutes` are full, with a validation, a log line and a checkpoint every `every` steps.

    SIGINT and SIGTERM end it after the step at hand, with a checkpoint, as SystemExit of 128 + the signal.
    """
    recipe = run.recipe
    ended_by = 0

    def stop(number: int, _frame: object) -> None:
        nonlocal ended_by
        ended_by = number

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    before = time.monotonic()

    def progress() -> float:
        if steps is not None:
            return run.step / steps
        assert minutes is not None, "a run ends by steps or by minutes"
        return run.seconds / (60 * minutes)

    while progress() < 1:
        lr, hr = sample_batch(
            photographs, seed=recipe.seed, step=run.step, batch=recipe.batch, patch=recipe.patch, scale=recipe.scale
        )
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step=run.step, progress=progress())
        run.losses.append(train_step(run, lr.to(device, memory_format=torch.channels_last), hr.to(device)))
        now = time.monotonic()
        run.seconds, before = run.seconds + now - before, now
        boundary = run.step % every == 0 or progress() >= 1
        if boundary:
            psnr = validate(run.ema, validation, device)
            line = {
                "step": run.step,
                "minutes": round(run.seconds / 60, 2),
                "loss": round(float(np.nanmean(run.losses)), 6),
                "val_psnr": round(psnr, 4),
                "learning_rate": run.optimiser.param_groups[0]["lr"],
            }
            run.losses.clear()
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            if psnr > run.best_psnr:
                run.best_psnr = psnr
                trained = provenance | {
                    "step": run.step,
                    "minutes": line["minutes"],
                    "val_psnr": psnr,
                    "recipe": asdict(recipe),
                }
                checkpoint_file.save(run.ema, out / "best.safetensors", member=recipe.model, training=trained)
        if boundary or ended_by:
            run.save(out / "last.safetensors")
            before = time.monotonic()  # what is spent here is not training
        if ended_by:
            raise SystemExit(128 + ended_by)


def positive_float(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return value


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train a GPSR network.")
    parser.add_argument("--model", choices=["gpsr", "lite", "nano"], default="nano")
    parser.add_argument("--scale", type=int, choices=[4, 8], default=4)
    parser.add_argument("--data", type=Path, required=True, help="a folder of pictures or of tar shards")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run; an existing run goes on")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=positive_float, help="the cosine ends when this much time has been spent")
    length.add_argument("--steps", type=positive, help="the cosine ends at this step")
    parser.add_argument("--batch", type=positive, default=16, help="LR patches per step (default %(default)s)")
    parser.add_argument(
        "--patch",
        type=positive,
        default=24,
        help="LR pixels per side of a patch, a multiple of 3 (default %(default)s)",
    )
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="peak (default %(default)s)")
    parser.add_argument("--warmup", type=positive, default=200, help="steps (default %(default)s)")
    parser.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient (default %(default)s)")
    parser.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast in the forward pass")
    parser.add_argument(
        "--every", type=positive, default=500, help="steps between validations and checkpoints (default %(default)s)"
    )
    parser.add_argument("--threads", type=positive, help="CPU threads (default: all)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    if options.patch % 3:
        parser.error(f"--patch {options.patch}: expected a multiple of 3")
    return options


def main(arguments: list[str]) -> int:
    """Starts or resumes the run; returns the exit code."""
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    recipe = Recipe(
        model=options.model,
        scale=options.scale,
        batch=options.batch,
        patch=options.patch,
        learning_rate=options.learning_rate,
        warmup=options.warmup,
        clip=options.clip,
        ema=options.ema,
        seed=options.seed,
        bf16=options.bf16,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, device)
    take_up(run, options.out)
    photographs, validation = split(options.data, scale=recipe.scale, smallest=recipe.patch)
    print(
        f"{len(photographs)} photographs for training, {len(validation)} for validation, from step {run.step}",
        flush=True,
    )
    provenance: dict[str, object] = {
        "data": options.data.name,
        "photographs": len(photographs),
        "device": str(device),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }

    train(
        run,
        photographs=photographs,
        validation=validation,
        out=options.out,
        device=device,
        steps=options.steps,
        minutes=options.minutes,
        every=options.every,
        provenance=provenance,
    )
    return 0


def split(
    data: Path, *, scale: int, validation_pictures: int = 32, smallest: int = 1
) -> tuple[list[Photograph], list[Photograph]]:
    """(training, validation). Raises InputUnreadable where there are too few pictures."""
    sharded = any(data.glob("*.tar"))
    photographs, bad = read_photographs(data, scale=scale, shards=slice(None, -1) if sharded else slice(None))
    if sharded:
        validation, bad_too = read_photographs(data, scale=scale, shards=slice(-1, None))
    else:
        validation, bad_too = photographs[::20], []
        photographs = [photograph for index, photograph in enumerate(photographs) if index % 20]
    small = {photograph.name for photograph in photographs + validation if min(photograph.lr.shape[1:]) < smallest}
    photographs = [photograph for photograph in photographs if photograph.name not in small]
    validation = [photograph for photograph in validation if photograph.name not in small]
    bad += sorted(small)
    for name in bad + bad_too:
        print(f"warning: {name} cannot be decoded or is smaller than a patch, and is left out", file=sys.stderr)
    if not photographs or not validation:
        raise InputUnreadable(
            f"{len(photographs)} pictures for training, {len(validation)} for validation",
            expected="a folder of at least 2 pictures, or of 2 tar shards",
            path=data,
        )
    return photographs, validation[:validation_pictures]


if __name__ == "__main__":
    program.run(main)
