"""Folders that appear whole or not at all, with a list of their files that tells ours from others. For POSIX."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gpsr_deploy import atomic
from gpsr_deploy.errors import InputUnreadable, ModelRefused, OutputUnwritable, UsageError
from gpsr_deploy.model_files import gate
from gpsr_deploy.package.template import File

SUMS = "SHA256SUMS"
"""Name of the list in each folder: what `sha256sum` prints of the other files, under lines that begin with `#`."""

MARK = b"# Written by gpsr-deploy "

MAX_LIST_BYTES = 1 << 20

_LINE = re.compile(r"[0-9a-f]{64} [ *](.+)")


def require_free(path: Path, *, overwrite: bool) -> Path:
    """The folder to write, with no link in its name. Raises OutputUnwritable or UsageError where it cannot be written.

    A folder that is there must be empty, or with `overwrite` hold nothing but what SUMS lists.
    """
    with _refusing(path):
        path = path.resolve()
        if path == Path.cwd() or path in Path.cwd().parents:
            raise UsageError("the output is the folder that you are in", expected="another one", path=path)
        if path.is_dir():
            _require_replaceable(path, overwrite=overwrite)
        elif os.path.lexists(path):
            raise OutputUnwritable("there is a file of that name", expected="a new folder", path=path)
    return path


def write(path: Path, files: Mapping[str, File], *, overwrite: bool) -> None:
    """The folder `path` with these files, named with `/` between the parts. Raises OutputUnwritable and leaves what was there."""
    atomic.make_folder(path.parent)
    clean_stale(path)
    with _refusing(path), _temporary(path) as made:
        for name, file in files.items():
            place = made / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as stream:
                stream.write(file.content)
                stream.flush()
                os.fsync(stream.fileno())
            if file.executable:
                place.chmod(place.stat().st_mode | (place.stat().st_mode & 0o444) >> 2)
        _publish(made, path, overwrite=overwrite)


def clean_stale(path: Path) -> None:
    """Removes what killed runs left beside `path`, and gives back a folder that one of them had already moved away."""
    pattern = re.compile(rf"\.{re.escape(_stem(path))}\.[0-9]+-[0-9a-f]{{8}}\.(tmp|old)")
    with suppress(OSError):
        for entry in [entry for entry in path.parent.iterdir() if pattern.fullmatch(entry.name)]:
            with suppress(OSError), _locked(entry):
                if entry.suffix == ".old" and not os.path.lexists(path):
                    entry.rename(path)
                else:
                    shutil.rmtree(entry)


def _publish(made: Path, path: Path, *, overwrite: bool) -> None:
    """Gives the finished folder its name; what stands there goes, if it may."""
    if not path.is_dir():
        made.rename(path)
        return
    old = made.with_suffix(".old")
    with _locked(path):  # which stays locked under its other name: `clean_stale` of others leaves it alone
        _require_replaceable(path, overwrite=overwrite)  # once more: it may have been used meanwhile
        path.rename(old)
        try:
            made.rename(path)
        except OSError:
            old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _require_replaceable(path: Path, *, overwrite: bool) -> None:
    """Raises OutputUnwritable for a folder in which something lies that must not go."""
    found = sorted(entry for entry in path.rglob("*") if entry.is_symlink() or not entry.is_dir())
    if not found and not any(path.iterdir()):
        return
    ours = _listed(path)
    if ours is None:
        remedy = "another -o, or an empty folder"
        raise OutputUnwritable("the folder is not empty", expected="a new folder", remedy=remedy, path=path)
    if not overwrite:
        raise OutputUnwritable("there is such a folder", expected="a new one", remedy="--overwrite", path=path)
    for entry in found:
        name = entry.relative_to(path).as_posix()
        if name not in ours and "__pycache__" not in name.split("/"):
            raise OutputUnwritable(
                f"{name} in it was not written by `gpsr-trt package`, and would be lost",
                expected="nothing but its files",
                remedy="move it away, or another -o",
                path=path,
            )


def _listed(path: Path) -> set[str] | None:
    """The files that the list in a folder names; None: there is none of ours."""
    try:
        content = gate.read(path / SUMS, most=MAX_LIST_BYTES)
    except (InputUnreadable, ModelRefused):
        return None
    if not content.startswith(MARK):
        return None
    lines = content.decode("utf-8", "replace").splitlines()
    return {SUMS} | {found[1] for found in map(_LINE.fullmatch, lines) if found}


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A new, locked folder beside `path`; removed at the end if it still has that name."""
    name = path.with_name(f".{_stem(path)}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    name.mkdir()
    try:
        with _locked(name):
            yield name
    finally:
        shutil.rmtree(name, ignore_errors=True)


def _stem(path: Path) -> str:
    return os.fsdecode(os.fsencode(path.name)[:200])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps others out. Raises BlockingIOError where somebody works there, and locks nothing where nothing can be locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """What the system refuses inside, as OutputUnwritable about `path`."""
    try:
        yield
    except OSError as error:
        raise OutputUnwritable(
            f"cannot be written ({error.strerror})", expected="a writable folder with space", path=path
        ) from error
