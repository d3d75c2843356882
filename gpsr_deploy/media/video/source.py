"""The frames of an input, whatever it is: y4m or raw frames in a pipe, a y4m file, a film in a container."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gpsr_deploy.media.video import pipes, y4m
from gpsr_deploy.media.video.colour import Matrix
from gpsr_deploy.media.video.raw import RawSource
from gpsr_deploy.media.video.stream import Format, Source


@contextlib.contextmanager
def opened(path: Path | None, *, raw: Format | None = None, assumed: Matrix | None = None) -> Iterator[Source]:
    """The source in `path`; None: stdin, with frames of `raw` if that is given, else y4m.

    `assumed` is the matrix of a film that does not tell. Raises InputUnreadable.
    """
    if path is None:
        stream = pipes.standard(0)
        yield y4m.Y4mSource(stream, assumed=assumed) if raw is None else RawSource(stream, raw)
    elif is_y4m(path):
        with path.open("rb") as file:
            yield y4m.Y4mSource(file, assumed=assumed)
    else:
        from gpsr_deploy.media.video import container, decode

        with container.opened(path) as film:
            yield decode.FilmSource(film, assumed=assumed)


def is_y4m(path: Path) -> bool:
    """Whether a file is y4m, by its content."""
    try:
        if not path.is_file():  # asked first: to open a FIFO would be to wait for its writer
            return False
        with path.open("rb") as file:
            return file.read(len(y4m.MAGIC)) == y4m.MAGIC
    except OSError:
        return False  # what it is says who opens it next
