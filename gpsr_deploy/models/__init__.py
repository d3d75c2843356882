"""The models that ship with the package, by scale. SHA256SUMS beside them is what `sha256sum *.onnx` prints."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from gpsr_deploy.errors import ModelRefused, UsageError

SHIPPED: dict[int, str] = {4: "gpsr_nano_x4.onnx", 8: "gpsr_nano_x8.onnx"}
"""What runs where only a scale is named, by scale: in fp32, which processors that have bf16 also compute in that."""

INT8: dict[int, str] = {4: "gpsr_nano_x4_int8.onnx", 8: "gpsr_nano_x8_int8.onnx"}
"""The same networks in int8, by scale."""


def shipped(scale: int, dtype: Literal["fp32", "int8"] = "fp32") -> Path:
    """The file of the model that ships for `scale`, in `dtype`.

    Raises UsageError (none does) or ModelRefused (not as it shipped).
    """
    if scale not in SHIPPED:
        expected = " or ".join(map(str, SHIPPED))
        raise UsageError(f"no model ships for scale {scale}", expected=expected, remedy="--engine FILE")
    names = INT8 if dtype == "int8" else SHIPPED
    if scale not in names:
        raise UsageError(
            f"no model in {dtype} ships for scale {scale}", remedy="--precision auto, or export/quantize.py"
        )
    path = Path(__file__).with_name(names[scale])
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
