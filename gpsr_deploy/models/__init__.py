"""The models that ship with the package, by scale, and the checksums they must have."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gpsr_deploy.errors import ModelRefused, UsageError

SHIPPED: dict[int, tuple[str, str]] = {
    4: ("gpsr_nano_x4.onnx", ""),
}
"""File name and SHA-256 per scale."""


def shipped(scale: int) -> Path:
    """The file of the model that ships for `scale`. Raises UsageError (none does) or ModelRefused (not as it shipped)."""
    if scale not in SHIPPED:
        raise UsageError(
            f"no model ships for scale {scale}", expected=" or ".join(map(str, SHIPPED)), remedy="--engine FILE"
        )
    name, sha256 = SHIPPED[scale]
    path = Path(__file__).with_name(name)
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "nothing"
    if found != sha256:
        raise ModelRefused(
            f"the shipped model has SHA-256 {found}", expected=sha256, remedy="install gpsr-deploy again", path=path
        )
    return path
