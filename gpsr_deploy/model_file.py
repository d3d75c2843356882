"""Reading a model's bytes: a regular file of bounded size, and nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

from gpsr_deploy.errors import InputUnreadable, ModelRefused


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
