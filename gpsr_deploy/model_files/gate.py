"""The bytes of every model: a regular file of bounded size, and the checksum that such a file carries within itself.

A checksum finds damage: 9 of 10 flipped bits in weights would go unnoticed. It proves nothing of where a file is from.
"""

from __future__ import annotations

import hashlib
import re
import stat
from pathlib import Path

from gpsr_deploy.errors import InputUnreadable, ModelRefused

CHECKSUM_KEY = "gpsr.sha256"
"""Metadata key, in ONNX and safetensors, of the SHA-256 of the file with these 64 digits replaced by zeros."""

CHECKSUM_BLANK = "?" * 64
"""What stands there until `with_checksum` fills it."""

NO_CHECKSUM = "the model carries no checksum, so that damage to it would go unnoticed"

_DIGITS = re.compile(r"[0-9a-f]{64}")


def read(path: Path, *, most: int) -> bytes:
    """All of `path`. Raises InputUnreadable, or ModelRefused for a file of over `most` bytes."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # asked first: to open a FIFO would be to wait for its writer
            raise InputUnreadable("this is no regular file", expected="a model file", path=path)
        if status.st_size > most:
            raise ModelRefused(f"the file has {status.st_size} bytes", expected=f"at most {most}", path=path)
        return path.read_bytes()
    except OSError as error:
        raise InputUnreadable(f"cannot be read ({error.strerror})", expected="a model file", path=path) from error


def with_checksum(content: bytes) -> bytes:
    """`content`, in which CHECKSUM_BLANK stands once, with the checksum there."""
    blank = CHECKSUM_BLANK.encode()
    if content.count(blank) != 1:
        raise ValueError("CHECKSUM_BLANK does not stand in the content once")
    return content.replace(blank, _checksum(content, blank).encode())


def require_checksum(content: bytes, stated: str) -> None:
    """Raises ModelRefused where `content`, which states this checksum of itself, is not what it was."""
    if not _DIGITS.fullmatch(stated) or _checksum(content, stated.encode()) != stated:
        raise ModelRefused(
            "the file is not as it was written: its checksum does not hold",
            expected=f"SHA-256 {stated[:16]}..., as it states itself",
            remedy="fetch or export it again",
        )


def _checksum(content: bytes, place: bytes) -> str:
    return hashlib.sha256(content.replace(place, b"0" * 64, 1)).hexdigest()
