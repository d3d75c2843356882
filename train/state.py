"""A run: its recipe, which stays, and its state, which changes from step to step; both in one file, whole or not at all."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from degradations import Degradation
from gpsr_deploy import atomic
from gpsr_deploy.cli import output
from gpsr_deploy.errors import InputUnreadable, OutputUnwritable, UsageError
from gpsr_deploy.network.family import Member, Part
from gpsr_deploy.network.gpsr import GPSR, build


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What determines the weights, but for rounding. A resumed run must have the same, but for its length."""

    model: Member
    scale: int
    without: tuple[Part, ...]
    """Parts of the network that an ablation leaves out."""
    degradation: Degradation
    batch: int
    """LR patches per step, over all processes."""
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
    alpha: float
    """Weight of the gradient branch's maps in the loss (Eq. 16)."""
    beta: float
    """Weight of the gradient of SR in the loss (Eq. 16)."""
    start: str | None
    """SHA-256 of the checkpoint whose weights the run starts from, if not at bicubic."""
    teacher: str | None
    """SHA-256 of the checkpoint whose SR the network also learns from."""
    teacher_weight: float
    """Weight of L1(SR, teacher's SR) in the loss."""
    seed: int
    bf16: bool
    """Forward pass under bfloat16 autocast."""


class Run:
    """The state of a training run: everything that changes from step to step."""

    def __init__(self, recipe: Recipe, device: torch.device, *, channels_last: bool = True) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = device
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network: GPSR = build(recipe.model, scale=recipe.scale, without=recipe.without).to(
            device, memory_format=self.layout
        )
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(),
            lr=recipe.learning_rate,
            betas=(0.9, 0.999),
            eps=1e-8,
            fused=device.type == "cuda",
        )
        self.step = 0
        self.seconds = 0.0
        self.best_psnr = -math.inf
        self.losses: list[float] = []  # since the last line of the log
        self.skipped = 0  # steps without a finite loss, in a row
        self.pictures: str | None = None  # Split.fingerprint of what it trains on, once that is known

    def start_from(self, network: GPSR) -> None:
        """Takes the weights of another network of the same shape, for the network and its average."""
        for mine in (self.network, self.ema):
            mine.load_state_dict(network.state_dict())

    def train_on(self, pictures: str, *, path: Path) -> None:
        """Notes what the run is trained on. Raises UsageError, about the checkpoint `path`, where it began with others."""
        if self.pictures not in (None, pictures):
            raise UsageError(
                f"the run was started with other pictures ({self.pictures} there, {pictures} here)",
                expected="the same --data, or none of it damaged since",
                remedy="another --out, with --start",
                path=path,
            )
        self.pictures = pictures

    def tensors(self) -> dict[str, Tensor]:
        """Network, EMA and optimiser under one roof of names."""
        named = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        named |= {f"ema.{key}": value for key, value in self.ema.state_dict().items()}
        moments = self.optimiser.state_dict()["state"]
        for number, (name, _) in enumerate(self.network.named_parameters()):  # one that has no gradient has no moments
            named |= {f"adam.{name}.{key}": value for key, value in moments.get(number, {}).items()}
        return {key: value.detach().cpu().contiguous().clone() for key, value in named.items()}

    def save(self, path: Path) -> None:
        """Everything a resume needs, atomically; the checkpoint that stood there becomes `previous(path)`."""
        metadata = {
            "recipe": json.dumps(asdict(self.recipe)),
            "step": str(self.step),
            "seconds": repr(self.seconds),
            "best_psnr": repr(self.best_psnr),
            "losses": json.dumps(self.losses),
            "skipped": str(self.skipped),
        }
        if self.pictures:
            metadata["pictures"] = self.pictures
        tensors = self.tensors()
        metadata["sha256"] = checksum(tensors, metadata)
        fresh = path.with_stem(f"{path.stem}.next")
        atomic.write(fresh, safetensors.torch.save(tensors, metadata=metadata))
        try:
            if path.exists():
                path.replace(previous(path))
            fresh.replace(path)
        except OSError as error:
            raise OutputUnwritable(f"cannot be renamed ({error.strerror})", path=fresh) from error

    def resume(self, path: Path) -> None:
        """Takes up what `save` wrote. Raises UsageError where the recipe differs, InputUnreadable where it is damaged."""
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                metadata = file.metadata()
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            if checksum(tensors, metadata) != metadata["sha256"]:
                raise ValueError("it is not what was written")
            saved, losses, skipped = (json.loads(metadata[key]) for key in ("recipe", "losses", "skipped"))
            step, seconds, best_psnr = (float(metadata[key]) for key in ("step", "seconds", "best_psnr"))
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputUnreadable(
                "the run's last state is damaged", remedy="remove it to start anew", path=path
            ) from error
        wanted = json.loads(json.dumps(asdict(self.recipe)))
        different = [
            f"{key}: {saved.get(key)} there, {wanted.get(key)} here"
            for key in wanted | saved
            if saved.get(key) != wanted.get(key)
        ]
        if different:
            raise UsageError(
                "the run was started with another recipe (" + "; ".join(different) + ")",
                remedy="the same options, or another --out",
                path=path,
            )
        for prefix, network in (("network.", self.network), ("ema.", self.ema)):
            network.load_state_dict(_under(prefix, tensors))
        state = self.optimiser.state_dict()
        for number, (name, _) in enumerate(self.network.named_parameters()):
            if moments := _under(f"adam.{name}.", tensors):
                state["state"][number] = moments
        self.optimiser.load_state_dict(state)
        self.step, self.seconds, self.best_psnr = int(step), seconds, best_psnr
        self.losses, self.skipped = losses, skipped
        self.pictures = metadata.get("pictures")  # a checkpoint of an earlier version does not tell


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def checksum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 over names and contents, in the order of the names: safetensors itself notices no flipped bit."""
    digest = hashlib.sha256()
    for name in sorted(metadata.keys() - {"sha256"}):
        digest.update(f"{name}={metadata[name]}\0".encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def previous(path: Path) -> Path:
    """Where the checkpoint before `path` is kept."""
    return path.with_stem(f"{path.stem}.before")


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keeps the folder of a run to this process, and clears away what killed ones left half written in it.

    Raises OutputUnwritable where another process trains there. Ends with the process, however that dies.
    """
    descriptor = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputUnwritable(
                "another process trains in this folder", remedy="another --out, or wait for it", path=out
            ) from error
        except OSError:  # a file system without locks: the user's care must do
            pass
        for folder in (out, out / "sheets"):
            atomic.clean_stale(folder)
        yield
    finally:
        os.close(descriptor)


def take_up(run: Run, out: Path, *, leads: bool = True) -> None:
    """Resumes from the last checkpoint in `out` that is whole, with a warning on stderr where that is not the last.

    Of several processes only the one that `leads` speaks and sets the damaged one aside. Raises InputUnreadable where
    none is whole, UsageError where the recipe differs.
    """
    last = out / "last.safetensors"
    try:
        if last.exists():
            run.resume(last)
            return
    except InputUnreadable:
        if not previous(last).exists():
            raise
    if not previous(last).exists():
        return
    run.resume(previous(last))
    if not leads:
        return
    output.say(f"warning: {last} is missing or damaged; the run goes on from the checkpoint before, step {run.step}")
    with contextlib.suppress(FileNotFoundError):
        last.replace(last.with_stem(f"{last.stem}.damaged"))  # never to take the place of the good one
