"""Which picture goes where: from the inputs and -o of a command line to (source, target) pairs. Opens no picture."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpsr_deploy.errors import InputUnreadable, UsageError

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
    single: bool
    """Whether one file was named: then its failure is the command's."""


def collect(
    inputs: list[str],
    *,
    output: Path | None = None,
    suffix: str | None = None,
    extension: str | None = None,
    scale: int,
    recursive: bool = False,
) -> Jobs:
    """Pairs every picture with its target. Raises UsageError or InputUnreadable; reads folders, opens no file.

    A name that exists is taken literally, whatever it contains; else one with * ? or [ is a pattern. `output` is a file
    when one file is named and `output` is neither a folder nor ends in a slash, else a folder, made when it is needed.
    """
    if extension is not None:
        extension = "." + extension.lower().removeprefix(".")
        if extension not in WRITE_SUFFIXES:
            raise UsageError(f"format {extension!r}", expected=", ".join(sorted(WRITE_SUFFIXES)))
    sources = [(source, root) for name in inputs for source, root in _sources(name, recursive=recursive)]
    named_one = len(inputs) == 1 and len(sources) == 1 and Path(inputs[0]) == sources[0][0]
    if named_one and output is not None and not output.is_dir() and not str(output).endswith(os.sep):
        return Jobs(jobs=(_checked(Job(source=sources[0][0], target=output)),), single=True)
    if output is not None and output.exists() and not output.is_dir():
        raise UsageError("the output is a file", expected="a folder for several inputs", path=output)
    if output is not None and not named_one and output.suffix.lower() in WRITE_SUFFIXES and not output.is_dir():
        raise UsageError("the output is named like a picture", expected="a folder for several inputs", path=output)
    suffix = suffix if suffix is not None else "" if output is not None else f"_x{scale}"
    if os.sep in suffix or "\0" in suffix:
        raise UsageError(f"suffix {suffix!r}", expected="a part of a file's name")
    jobs = []
    for source, root in sources:
        kept = source.suffix if source.suffix.lower() in WRITE_SUFFIXES else ".png"
        folder = source.parent if output is None else output / source.parent.relative_to(root)
        jobs.append(_checked(Job(source=source, target=folder / f"{source.stem}{suffix}{extension or kept}")))
    if output is None and not named_one:
        # What an earlier run wrote beside its inputs is no input.
        targets = {job.target for job in jobs}
        jobs = [job for job in jobs if job.source not in targets]
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.target in seen:
            raise UsageError(
                f"{seen[job.target].name} and {job.source.name} would both be written there",
                remedy="other names, or no -f",
                path=job.target,
            )
        seen[job.target] = job.source
    return Jobs(jobs=tuple(jobs), single=named_one)


def _checked(job: Job) -> Job:
    try:
        same = job.target.exists() and job.source.samefile(job.target)
    except OSError:
        same = False
    if same or job.source == job.target:
        raise UsageError(
            "the output is the input", expected="another name", remedy="-o, -f or --suffix", path=job.target
        )
    return job


def _sources(name: str, *, recursive: bool) -> Iterator[tuple[Path, Path]]:
    """(picture, the folder that its place in the output is relative to) for one INPUT."""
    path = Path(name)
    if path.is_dir():
        yield from _in_folder(path, recursive=recursive)
    elif os.path.lexists(path) or not glob.has_magic(name):
        yield path, path.parent
    else:
        matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]
        files = [match for match in matches if match.is_file()]
        if not files:
            raise InputUnreadable("no file matches the pattern", expected="pictures", path=name)
        for match in files:
            yield match, match.parent


def _in_folder(folder: Path, *, recursive: bool) -> Iterator[tuple[Path, Path]]:
    try:
        every = folder.rglob("*") if recursive else folder.iterdir()
        found = sorted(path for path in every if path.suffix.lower() in READ_SUFFIXES)
    except OSError as error:
        raise InputUnreadable(
            f"the folder cannot be read ({error.strerror})", expected="a folder of pictures", path=folder
        ) from error
    files = [path for path in found if not path.name.startswith(".") and not path.is_dir()]
    if not files:
        raise InputUnreadable(
            "the folder holds no pictures",
            expected="files named " + ", ".join(sorted(READ_SUFFIXES)),
            remedy="-r for subfolders",
            path=folder,
        )
    for path in files:
        yield path, folder
