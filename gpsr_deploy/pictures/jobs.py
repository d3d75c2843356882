"""Which picture goes where: from the inputs and -o of a command line to (source, target) pairs. Opens no picture."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpsr_deploy.errors import GpsrError, InputUnreadable, UsageError

READ_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif"}
"""What a folder is searched for. A file that is named goes by its content, whatever its suffix."""

WRITE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"}
"""Inputs of other formats give PNG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One picture."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What a command line asks for."""

    jobs: tuple[Job, ...]
    unread: tuple[GpsrError, ...] = ()
    """Inputs among several, and subfolders, that gave no picture; each with its path."""
    single: bool = False
    """Whether one file was named: then its failure is the command's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    path: Path
    root: Path
    """The folder that its place in the output is relative to."""
    named: bool
    """Whether it was named as a file, not found in a folder or by a pattern."""


def collect(
    inputs: list[str],
    *,
    output: str | Path | None = None,
    suffix: str | None = None,
    extension: str | None = None,
    scale: int,
    recursive: bool = False,
) -> Jobs:
    """Pairs every picture with its target. Raises UsageError or InputUnreadable; reads folders, opens no file.

    A name that exists is taken literally, whatever it contains; else one with * ? or [ is a pattern. `output` is a file
    when one file is named and `output` is neither a folder nor ends in a slash, else a folder, made when it is needed.
    """
    if "" in inputs or output == "":
        raise UsageError("an empty name", expected="a file or a folder")
    extension = _extension(extension)
    if suffix is not None and (os.sep in suffix or "\0" in suffix):
        raise UsageError(f"suffix {suffix!r}", expected="a part of a file's name")
    sources, unread = _every_source(inputs, recursive=recursive)
    single = len(inputs) == 1 and len(sources) == 1 and sources[0].named
    folder = None if output is None else Path(output)
    if single and folder is not None and not _is_folder(output):
        if suffix is not None or (extension is not None and extension != folder.suffix.lower()):
            raise UsageError("--suffix or --ext with a file as output", expected="one of them", path=folder)
        return Jobs(jobs=_checked([Job(source=sources[0].path, target=folder)], sources), single=True)
    if folder is not None and not os.path.isdir(folder):
        if os.path.lexists(folder):
            raise UsageError("the output is a file", expected="a folder for several inputs", path=folder)
        if folder.suffix.lower() in WRITE_SUFFIXES and not _is_folder(output):
            raise UsageError("the output is named like a picture", expected="a folder for several inputs", path=folder)
    if suffix is None:
        suffix = "" if folder is not None else f"_x{scale}"
    jobs = [_job(source, folder=folder, suffix=suffix, extension=extension) for source in sources]
    # What an earlier run wrote beside or below its inputs is no input, unless it is named.
    targets = {job.target for job in jobs}
    jobs = [
        job
        for job, source in zip(jobs, sources, strict=True)
        if source.named
        or job.source == job.target
        or (job.source not in targets and not _below(job.source, folder, source.root))
    ]
    return Jobs(jobs=_checked(jobs, sources), unread=tuple(unread), single=single)


def _extension(extension: str | None) -> str | None:
    if extension is None:
        return None
    dotted = "." + extension.lower().removeprefix(".")
    if dotted not in WRITE_SUFFIXES:
        raise UsageError(f"format {extension!r}", expected=", ".join(sorted(WRITE_SUFFIXES)))
    return dotted


def _is_folder(output: str | Path | None) -> bool:
    return output is not None and (str(output).endswith(os.sep) or os.path.isdir(output))


def _job(source: _Source, *, folder: Path | None, suffix: str, extension: str | None) -> Job:
    path = source.path
    kept = path.suffix if path.suffix.lower() in WRITE_SUFFIXES else ".png"
    there = path.parent if folder is None else folder / path.parent.relative_to(source.root)
    return Job(source=path, target=there / f"{path.stem}{suffix}{extension or kept}")


def _below(path: Path, folder: Path | None, root: Path) -> bool:
    """Whether `path` lies in the output folder, where that is itself inside the folder that is searched."""
    if folder is None:
        return False
    out, searched = os.path.abspath(folder), os.path.abspath(root)
    return out.startswith(searched + os.sep) and os.path.abspath(path).startswith(out + os.sep)


def _checked(jobs: list[Job], sources: list[_Source]) -> tuple[Job, ...]:
    """`jobs`, unless two share a target or one would overwrite an input. Raises UsageError."""
    named = {source.path for source in sources if source.named}
    seen: dict[Path, Path] = {}
    for job in jobs:
        if _same(job.source, job.target) or job.target in named:
            raise UsageError(
                "the output is an input", expected="another name", remedy="-o, -f or --suffix", path=job.target
            )
        if job.target in seen:
            found = f"{seen[job.target].name} and {job.source.name} would both be written there"
            raise UsageError(found, remedy="other names, or no -f", path=job.target)
        seen[job.target] = job.source
    return tuple(jobs)


def _same(source: Path, target: Path) -> bool:
    try:
        return source == target or os.path.samefile(source, target)
    except OSError:
        return False


def _every_source(inputs: list[str], *, recursive: bool) -> tuple[list[_Source], list[GpsrError]]:
    """All pictures, each once, and what of several inputs gave none. Raises that error where the input is the only one."""
    found: dict[Path, _Source] = {}
    unread: list[GpsrError] = []
    for name in inputs:
        try:
            for source in _sources(name, recursive=recursive, unread=unread):
                found.setdefault(source.path, source)
        except InputUnreadable as error:
            if len(inputs) == 1:
                raise
            unread.append(error)
    return list(found.values()), unread


def _sources(name: str, *, recursive: bool, unread: list[GpsrError]) -> Iterator[_Source]:
    path = Path(name)
    if os.path.isdir(path):
        yield from _in_folder(path, recursive=recursive, unread=unread)
    elif os.path.lexists(path) or not glob.has_magic(name):
        yield _Source(path=path, root=path.parent, named=True)
    else:
        matches = [Path(match) for match in sorted(glob.glob(name, recursive=True)) if os.path.isfile(match)]
        if not matches:
            raise InputUnreadable("no file matches the pattern", expected="pictures", path=name)
        yield from (_Source(path=match, root=match.parent, named=False) for match in matches)


def _in_folder(folder: Path, *, recursive: bool, unread: list[GpsrError]) -> Iterator[_Source]:
    denied: list[OSError] = []
    found = []
    for place, folders, names in os.walk(folder, onerror=denied.append):
        found += [Path(place, name) for name in names if not name.startswith(".")]
        if not recursive:
            folders.clear()
    errors = [
        InputUnreadable(
            f"the folder cannot be read ({error.strerror})", expected="a folder of pictures", path=error.filename
        )
        for error in denied
    ]
    pictures = sorted(path for path in found if path.suffix.lower() in READ_SUFFIXES)
    if not pictures:
        expected = "files named " + ", ".join(sorted(READ_SUFFIXES))
        nothing = InputUnreadable(
            "the folder holds no pictures", expected=expected, remedy="-r for subfolders", path=folder
        )
        raise errors[0] if errors else nothing
    unread += errors
    yield from (_Source(path=path, root=folder, named=False) for path in pictures)
