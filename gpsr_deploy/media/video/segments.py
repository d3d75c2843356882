"""The film so far, in whole segments beside the output: what a killed run leaves for the next. On PyAV's encoder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpsr_deploy import atomic
from gpsr_deploy.errors import ModelRefused, OutputUnwritable, UsageError
from gpsr_deploy.media.video.colour import Planes
from gpsr_deploy.media.video.encoder import Encoder, Encoding
from gpsr_deploy.media.video.ffmpeg import FFmpegError
from gpsr_deploy.media.video.written import Written

VERSION = 1
JOURNAL = "journal.json"
LOCK = "lock"

_OURS = re.compile(r"[0-9]{5,}\.(mkv|json|part)")

ENGINE = "engine"
"""The name in a binding whose difference is the model's, not the request's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Some seconds of the output, encoded on their own."""

    name: str
    pts: tuple[int, ...]
    """Of its packets in their order, in ticks of the film."""
    sha256: str

    @property
    def frames(self) -> int:
        """How many it holds."""
        return len(self.pts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What the segments of a folder belong to."""

    binding: Mapping[str, str]
    """Everything that the frames depend on, in words: another value means other frames."""
    tile: tuple[int, int]
    """(height, width) in LR pixels, as the first run chose it by the memory that there was."""
    halo: int
    """LR pixels."""


def folder_of(target: Path) -> Path:
    """Where the segments of `target` lie while it is made."""
    return target.with_name(target.name + ".segments")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder and keeps other runs off it. Raises OutputUnwritable. Removes it at the end if it holds no segment."""
    with writing(folder):
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputUnwritable(
                "another run is making this film", expected="one run an output", path=folder
            ) from error
        try:
            yield
        finally:
            if folder.is_dir() and not any(folder.glob("*.mkv")):
                remove(folder)
    finally:
        os.close(descriptor)


def read(folder: Path) -> tuple[Journal, tuple[Segment, ...]] | None:
    """The journal of `folder` and its whole segments, in order, up to the first that is missing or damaged.

    None where there is no journal. Raises OutputUnwritable for a journal that is none of ours.
    """
    try:
        text = (folder / JOURNAL).read_bytes()
    except OSError:
        return None
    try:
        journal = _journal(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise OutputUnwritable(
            "the journal of an interrupted run is damaged", remedy="--overwrite to begin anew", path=folder / JOURNAL
        ) from error
    segments: list[Segment] = []
    while (segment := _segment(folder, len(segments))) is not None:
        segments.append(segment)
    return journal, tuple(segments)


def begin(folder: Path, journal: Journal) -> None:
    """Removes an earlier run's segments and writes the journal. Raises OutputUnwritable."""
    with writing(folder):
        _clear(folder)
    content = {"version": VERSION, **asdict(journal), "binding": dict(journal.binding)}
    atomic.write(folder / JOURNAL, json.dumps(content, indent=1).encode())


def require_same(found: Journal, wanted: Mapping[str, str], folder: Path) -> None:
    """Raises UsageError or, where the model is another, ModelRefused: with the difference."""
    for name in sorted(found.binding.keys() | wanted.keys()):
        before, now = found.binding.get(name, "nothing"), wanted.get(name, "nothing")
        if before != now:
            kind = ModelRefused if name == ENGINE else UsageError
            raise kind(
                f"the interrupted run had {name} {before}, this one has {now}",
                expected="the same input, engine and options as in the run that --resume continues",
                remedy="those, or --overwrite without --resume to begin anew",
                path=folder,
            )


def remove(folder: Path) -> None:
    """Removes the folder and what runs leave in it; what is not ours stays."""
    with contextlib.suppress(OSError):
        _clear(folder)
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == JOURNAL or _OURS.fullmatch(entry.name):
            entry.unlink()
    atomic.clean_stale(folder)


def fingerprint(path: Path) -> str:
    """What tells a film from another without reading all of it: its size, and a SHA-256 of its begin, middle and end."""
    block = 1 << 20
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        for start in sorted({0, max(size // 2 - block // 2, 0), max(size - block, 0)}):
            file.seek(start)
            digest.update(file.read(block))
    return f"{size} bytes, SHA-256 of its begin, middle and end {digest.hexdigest()}"


class SegmentSink:
    """Frames into segments of `length` frames, after `done` that are there. A segment counts once its record is there."""

    def __init__(self, folder: Path, encoding: Encoding, *, length: int, done: int = 0) -> None:
        self._folder, self._encoding, self._length = folder, encoding, length
        self._number = done
        self._open: tuple[Written, Encoder] | None = None
        self._held = 0

    def write(self, planes: Planes, pts: int) -> None:
        """See Sink.write."""
        with writing(self._folder):
            if self._open is None:
                file = Written(self._part, "w+")
                self._open = file, Encoder(file, self._encoding, container="matroska")
                self._held = 0
            self._open[1].write(planes, pts)
            self._held += 1
            if self._held == self._length:
                self.finish()

    def finish(self) -> None:
        """Makes what was written a segment."""
        if self._open is None:
            return
        file, encoder = self._open
        with writing(self._folder):
            encoder.finish()
            file.check()
            os.fsync(file.fileno())
            file.close()
            self._open = None
            name = f"{self._number:05}.mkv"
            digest = _sha256(self._part)
            self._part.replace(self._folder / name)
            record = {"pts": encoder.pts, "sha256": digest}
            atomic.write((self._folder / name).with_suffix(".json"), json.dumps(record).encode())
        self._number += 1

    def abandon(self) -> None:
        """Gives up what is no segment yet."""
        if self._open is not None:
            file, encoder = self._open
            self._open = None
            with contextlib.suppress(FFmpegError, OSError):
                encoder.abandon()
            file.close()
            self._part.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        return self._folder / f"{self._number:05}.part"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What fails inside, as OutputUnwritable about `path`."""
    try:
        yield
    except (OSError, FFmpegError) as error:
        raise OutputUnwritable(
            f"cannot be written ({error.strerror})",
            expected="a writable folder with space",
            remedy="make room, then --resume",
            path=path,
        ) from error


def _journal(content: Any) -> Journal:
    """Raises ValueError, TypeError or KeyError for what `begin` did not write."""
    if (
        type(content) is not dict
        or content["version"] != VERSION
        or content.keys() != {"version", "binding", "tile", "halo"}
    ):
        raise ValueError
    binding = content["binding"]
    if type(binding) is not dict:
        raise TypeError
    height, width = content["tile"]
    strings = [*binding.keys(), *binding.values()]
    if not all(type(text) is str for text in strings) or not all(
        type(n) is int for n in (height, width, content["halo"])
    ):
        raise TypeError
    return Journal(binding=binding, tile=(height, width), halo=content["halo"])


def _segment(folder: Path, number: int) -> Segment | None:
    """Segment `number`, if it is there, whole."""
    path = folder / f"{number:05}.mkv"
    try:
        record = json.loads(path.with_suffix(".json").read_bytes())
        pts, sha256 = tuple(record["pts"]), record["sha256"]
        if not pts or any(type(time) is not int for time in pts) or _sha256(path) != sha256:
            return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return Segment(name=path.name, pts=pts, sha256=sha256)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
