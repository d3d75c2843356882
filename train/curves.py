"""The curves of a run as one PNG, from its log."""

from __future__ import annotations

import io
from pathlib import Path

import journal
from drawing import Figure, FigureCanvasAgg
from gpsr_deploy import atomic


def write(path: Path, log: Path) -> None:
    """Loss, validation PSNR and learning rate over the steps of `log`, one above the other."""
    lines = journal.read(log)
    figure = Figure(figsize=(8, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, sharex=True)
    for axis, name, unit in zip(
        axes, ("loss", "val_psnr", "learning_rate"), ("loss", "validation PSNR, dB", "learning rate"), strict=True
    ):
        points = [(line.step, value) for line in lines if (value := getattr(line, name)) is not None]
        axis.plot([step for step, _ in points], [value for _, value in points])
        axis.set_ylabel(unit)
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    axes[-1].set_xlabel("step")
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=100, metadata={"Software": None})
    atomic.write(path, encoded.getvalue())
