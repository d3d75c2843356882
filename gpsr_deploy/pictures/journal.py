"""The journal of a run over several pictures: which outputs are finished, of which inputs, by which model.

A line is added before each picture and after it, so that whoever reads it later can tell finished from half done, whenever
the run was killed. A run that ended well leaves none.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gpsr_deploy.errors import OutputUnwritable, UsageError
from gpsr_deploy.pictures.jobs import Job

NAME = ".gpsr-run.jsonl"
"""Of the journal, in the folder that holds all outputs."""

MAX_BYTES = 256 << 20
"""A journal of a million pictures is smaller."""

_FORMAT = 1

Identity = tuple[int, int] | None
"""Of a file: bytes and time of its last change in ns; None where there is none."""


@dataclass(frozen=True, slots=True)
class _Entry:
    source: Identity
    before: Identity
    """The output when its picture was begun."""
    done: Identity
    """The output when it was finished; None: it was not."""


class Journal:
    """Of one run, open and locked. Where another run has it, or the folder takes none, this run keeps none."""

    def __init__(self, folder: Path, recipe: Mapping[str, str], *, resume: bool) -> None:
        """A new journal in `folder`; with `resume` the one of an interrupted run goes on, if it is there.

        `recipe` is what decides the pixels, in words. Raises UsageError where the interrupted run had another.
        """
        self._folder = folder
        self._recipe = dict(recipe)
        self._entries: dict[str, _Entry] = {}
        self._overwrites = False
        self._file: int | None = None
        self.resumed = False
        """Whether an interrupted run goes on."""
        try:
            self._file = _locked(folder / NAME)
            if resume and self._file is not None:
                self._read(self._file)
        except BaseException:
            self.close(complete=False)
            raise

    def start(self, *, overwrites: bool) -> None:
        """Begins a run that, unless one goes on, has done nothing; `overwrites`: outputs that are there are not its own."""
        if self._file is not None and not self.resumed:
            with self._writing():
                os.ftruncate(self._file, 0)
            self._overwrites = overwrites
            self._add({"format": _FORMAT, "recipe": self._recipe, "overwrites": overwrites})

    def finished(self, job: Job) -> bool:
        """Whether the output is there, whole, and of what the input is now."""
        there, entry = _identity(job.target), self._entries.get(self._key(job))
        if there is None:
            return False
        if entry is None:
            return not self._overwrites
        if entry.done is not None:
            return entry.source == _identity(job.source) or there != entry.done  # what somebody else changed is theirs
        # Outputs appear whole: one that is another than at the begin was finished, though nobody could note it.
        return there != entry.before

    def ours(self, job: Job) -> bool:
        """Whether an output that is not finished may be replaced: it is the interrupted run's, or that was to replace it."""
        entry = self._entries.get(self._key(job))
        return self.resumed and (self._overwrites or (entry is not None and _identity(job.target) == entry.done))

    def begin(self, job: Job) -> None:
        """Notes that a picture is begun."""
        self._note(job, _Entry(_identity(job.source), _identity(job.target), None))

    def done(self, job: Job) -> None:
        """Notes that a picture is finished."""
        self._note(job, _Entry(_identity(job.source), None, _identity(job.target)))

    def close(self, *, complete: bool) -> None:
        """Ends the run; the journal of a `complete` one is removed."""
        if self._file is not None:
            if complete:
                with contextlib.suppress(OSError):
                    (self._folder / NAME).unlink()
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(complete=False)

    def _note(self, job: Job, entry: _Entry) -> None:
        key = self._key(job)
        self._entries[key] = entry
        self._add({"output": key, "source": entry.source, "before": entry.before, "done": entry.done})

    def _key(self, job: Job) -> str:
        return os.fsencode(os.path.relpath(job.target, self._folder)).hex()

    def _read(self, descriptor: int) -> None:
        """Takes up what the interrupted run noted. A last line that was cut by a kill, or any that is none, is passed over."""
        if os.fstat(descriptor).st_size > MAX_BYTES:
            return
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            head, *lines = [_parsed(line) for line in file] or [{}]
        recipe = head.get("recipe")
        if head.get("format") != _FORMAT or not isinstance(recipe, dict):
            return
        if recipe != self._recipe:
            differs = sorted(
                key for key in recipe.keys() | self._recipe.keys() if recipe.get(key) != self._recipe.get(key)
            )
            was, now = (", ".join(f"{key} {which.get(key)}" for key in differs) for which in (recipe, self._recipe))
            raise UsageError(
                f"the run that was interrupted here had {was}",
                expected=f"the same in what goes on with it; this one has {now}",
                remedy="the same options, or --overwrite to begin anew",
                path=self._folder,
            )
        self.resumed = True
        self._overwrites = head.get("overwrites") is True
        for line in lines:
            with contextlib.suppress(KeyError, TypeError, ValueError):
                entry = _Entry(_pair(line["source"]), _pair(line["before"]), _pair(line["done"]))
                if isinstance(line["output"], str):
                    self._entries[line["output"]] = entry

    def _add(self, line: Mapping[str, object]) -> None:
        if self._file is not None:
            with self._writing():
                os.write(self._file, json.dumps(line).encode() + b"\n")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputUnwritable(
                f"the journal of the run cannot be written ({error.strerror})",
                expected="a place with space",
                path=self._folder / NAME,
            ) from error


def _locked(path: Path) -> int | None:
    """The file at `path`, made if need be, for this process alone; None where another has it, or there can be none."""
    descriptor = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, os.fstat(descriptor).st_size)  # what is no regular file cannot
        return descriptor
    except OSError:  # what keeps the outputs from being written will say so itself
        if descriptor is not None:
            os.close(descriptor)
        return None


def folder_of(jobs: Iterable[Job]) -> Path:
    """The folder that holds all outputs."""
    return Path(os.path.commonpath([job.target.parent.absolute() for job in jobs]))


def _identity(path: Path) -> Identity:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _pair(found: object) -> Identity:
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != 2 or not all(type(number) is int for number in found):
        raise ValueError("no identity of a file")
    return found[0], found[1]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
