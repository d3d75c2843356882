"""What a run tells while it goes on: a progress bar, a line per validation in log.jsonl, TensorBoard if asked for."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gpsr_deploy import atomic
from gpsr_deploy.errors import BackendUnavailable, OutputUnwritable


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of log.jsonl."""

    step: int
    minutes: float
    """Spent in steps so far."""
    loss: float | None
    """Mean since the line before; None where no step had a finite loss."""
    val_psnr: float | None
    """Of the EMA weights, dB on Y; None where the network gave NaN."""
    learning_rate: float
    skipped: int
    """Steps since the line before that were skipped, for a loss or a gradient that was not finite."""


class Journal:
    """Writes to the folder of a run, from `step` on: later lines, of a run that was killed, are taken back."""

    def __init__(self, out: Path, *, step: int, progress: float, tensorboard: bool) -> None:
        self.path = out / "log.jsonl"
        self.began, self.first = time.monotonic(), progress
        self.losses: list[float] = []  # of which the bar shows the mean
        self.patches, self.psnr = 0, ""
        if self.path.is_file():
            kept = [line for line in self.path.read_text(errors="replace").splitlines() if _step(line) <= step]
            atomic.write(self.path, "".join(f"{line}\n" for line in kept).encode())
        self.board = _board(out / "tensorboard", step) if tensorboard else None
        hidden = None if sys.stderr else True  # None: where stderr is no terminal
        self.bar = tqdm(total=1.0, initial=progress, bar_format="{percentage:3.0f}%|{bar:24}|{desc}", disable=hidden)

    def stepped(self, *, step: int, progress: float, loss: float, patches: int) -> None:
        """Moves the bar after a step. `progress` runs from 0 to 1."""
        if self.bar.disable:
            return
        self.losses = [*self.losses[-99:], loss]
        self.patches += patches
        spent = time.monotonic() - self.began
        left = spent * (1 - progress) / (progress - self.first) if progress > self.first else math.inf
        mean = sum(self.losses) / len(self.losses)
        self.bar.set_description_str(
            f" step {step}, loss {mean:.4f}{self.psnr}, {self.patches / spent:.0f} patches/s, {_clock(left)} left",
            refresh=False,
        )
        self.bar.n = min(progress, 1.0)
        self.bar.update(0)

    def validated(self, line: Line) -> None:
        """Logs a validation and shows it."""
        try:
            with self.path.open("a") as log:
                log.write(json.dumps(asdict(line), allow_nan=False) + "\n")
                log.flush()
                os.fsync(log.fileno())  # as a checkpoint is: after a power cut neither lacks what the other tells
        except OSError as error:
            raise OutputUnwritable(
                f"the log cannot be written ({error.strerror})",
                remedy="free some space, then the same command",
                path=self.path,
            ) from error
        with contextlib.suppress(OSError):  # where stdout is closed or full the log still has it
            tqdm.write(json.dumps(asdict(line)))
        if line.val_psnr is not None:
            self.psnr = f", {line.val_psnr:.2f} dB"
        if self.board:
            for name in ("loss", "val_psnr", "learning_rate"):
                if (value := getattr(line, name)) is not None:
                    self.board.add_scalar(name, value, line.step)
            self.board.flush()

    def close(self) -> None:
        """Ends the bar's line."""
        self.bar.close()
        if self.board:
            self.board.close()


def read(path: Path) -> list[Line]:
    """The lines of a log.jsonl."""
    return [Line(**({"skipped": 0} | json.loads(line))) for line in path.read_text().splitlines()]


def _step(line: str) -> float:
    """The step of a line of the log; infinite for a line that a kill or a full disk cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BackendUnavailable(
            "TensorBoard is not installed", remedy="pip install gpsr-deploy[train], or no --tensorboard"
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)


def _clock(seconds: float) -> str:
    return str(tqdm.format_interval(seconds)) if math.isfinite(seconds) else "?"
