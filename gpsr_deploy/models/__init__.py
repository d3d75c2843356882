"""The models that ship with the package, by scale. SHA256SUMS beside them is what `sha256sum *.onnx` prints."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gpsr_deploy.errors import ModelRefused, UsageError

SHIPPED: dict[int, str] = {4: "gpsr_nano_x4.onnx", 8: "gpsr_nano_x8.onnx"}
"""What runs where only a scale is named, by scale: fp32, since that is what CPUs compute in."""


def shipped(scale: int) -> Path:
    """The file of the model that ships for `scale`. Raises UsageError (none does) or ModelRefused (not as it shipped)."""
    if scale not in SHIPPED:
        expected = " or ".join(map(str, SHIPPED))
        raise UsageError(f"no model ships for scale {scale}", expected=expected, remedy="--engine FILE")
    path = Path(__file__).with_name(SHIPPED[scale])
    expected = checksums()[path.name]
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "nothing"
    if found != expected:
        remedy = "pip install --force-reinstall gpsr-deploy"
        raise ModelRefused(f"the shipped model has SHA-256 {found}", expected=expected, remedy=remedy, path=path)
    return path


def files() -> list[Path]:
    """All models that ship, also those that only engines are built from."""
    return [Path(__file__).with_name(name) for name in sorted(checksums())]


def checksums() -> dict[str, str]:
    """SHA-256 by file name."""
    lines = Path(__file__).with_name("SHA256SUMS").read_text(encoding="ascii").splitlines()
    return {name: sha256 for sha256, name in (line.split() for line in lines)}
