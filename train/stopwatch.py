"""Where the time of a run goes: seconds per phase, on a GPU with its queue drained at each lap."""

from __future__ import annotations

import time

import torch

STEP = ("data", "forward", "backward", "optimiser", "logging")
"""The phases of a step."""


class Stopwatch:
    """Adds up what passes between laps. One that is not `on` costs nothing and drains no queue."""

    def __init__(self, device: torch.device, *, on: bool) -> None:
        self.device, self.on = device, on
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, phase: str) -> None:
        """What passed since the last lap was `phase`."""
        if not self.on:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = now

    def split(self) -> str:
        """Shares of the steps' time, and what validation and checkpoints took beside it."""
        total = sum(self.seconds.get(phase, 0.0) for phase in STEP)
        if not total:
            return "no step was timed"
        shares = ", ".join(f"{phase} {self.seconds.get(phase, 0.0) / total:.1%}" for phase in STEP)
        beside = sum(seconds for phase, seconds in self.seconds.items() if phase not in STEP)
        return f"steps {total:.1f} s: {shares}; validation and checkpoints {beside:.1f} s"
