"""Files that appear whole or not at all: written under a temporary name beside their own, then renamed. For POSIX."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gpsr_deploy.errors import OutputUnwritable

_LIVE: set[Path] = set()
"""The temporary files of this process, for `abandon`."""

_TEMPORARY = re.compile(r"\..+\.[0-9]+-[0-9a-f]{8}\.tmp", re.DOTALL)


def write(path: Path, data: bytes) -> None:
    """`data` under the name `path`, replacing what stands there. Raises OutputUnwritable and leaves nothing behind."""
    with _refusing(path), temporary(path) as (descriptor, name):
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(descriptor)
        publish(name, path, overwrite=True)


def require_writable(path: Path) -> None:
    """Raises OutputUnwritable where `write` could not, as far as can be known: tries a temporary file beside `path`."""
    with _refusing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with temporary(path):
            pass


def make_folder(path: Path) -> None:
    """The folder `path` and those above it, where they are missing. Raises OutputUnwritable."""
    with _refusing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """What the system refuses inside, as OutputUnwritable about `path`."""
    try:
        yield
    except OSError as error:
        raise OutputUnwritable(
            f"cannot be written ({error.strerror})", expected="a writable folder with space", path=path
        ) from error


@contextmanager
def temporary(path: Path) -> Iterator[tuple[int, Path]]:
    """A new, locked file beside `path`, as descriptor and name; removed at the end if it still has that name."""
    descriptor, name = _created(path)
    _LIVE.add(name)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)
        name.unlink(missing_ok=True)
        _LIVE.discard(name)


def abandon() -> None:
    """Removes the temporary files of this process, which is about to end without unwinding."""
    for name in list(_LIVE):
        with suppress(OSError):
            name.unlink(missing_ok=True)


def _created(path: Path) -> tuple[int, Path]:
    stem = os.fsdecode(os.fsencode(path.name)[:200])  # with the rest at most 255 bytes, which is what a name may have
    name = path.with_name(f".{stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    with suppress(OSError):  # where nothing can be locked, `clean_stale` removes nothing
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if os.fstat(descriptor).st_nlink:
        return descriptor, name
    os.close(descriptor)  # another process's `clean_stale` came before the lock
    return _created(path)


def publish(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Gives the finished file its name in one step. Raises FileExistsError where one stands there, unless `overwrite`."""
    if not overwrite:
        try:
            path.hardlink_to(temporary)  # which, unlike a rename, never replaces
            return
        except FileExistsError:
            raise
        except OSError:  # FAT and some network file systems have no links
            if os.path.lexists(path):
                raise FileExistsError from None
    temporary.replace(path)


def clean_stale(folder: Path) -> tuple[Path, ...]:
    """Removes, and returns, the temporary files that killed processes left in `folder`; what cannot be removed stays.

    A file whose writer lives is locked. That holds in containers, where process ids repeat, and on shared disks.
    """
    removed = []
    with suppress(OSError):
        for entry in [entry for entry in folder.iterdir() if _TEMPORARY.fullmatch(entry.name)]:
            with suppress(OSError):
                descriptor = os.open(entry, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    if stat.S_ISREG(os.fstat(descriptor).st_mode):
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        entry.unlink()
                        removed.append(entry)
                finally:
                    os.close(descriptor)
    return tuple(removed)
