"""Film files opened without following anything they point at, and failures of FFmpeg in our words. On PyAV."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media.video.ffmpeg import FFmpegError, InputContainer, Stream, VideoStream, av
from gpsr_deploy.media.video.stream import MAX_FRAME_PIXELS

CONTAINERS = (
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,flv,mpegts,mpeg,mpegvideo,ogg,asf,ivf,h264,hevc,obu,m4v,mxf,nut,gif"
)
"""Demuxers, by FFmpeg's names: only what holds its film itself, no playlists, no scripts, no lists of pictures."""

MAX_STREAMS = 200
"""Most streams of a file."""

AGAIN = "copy or download the file again"

ATTACHED_PICTURE = 0x400
"""FFmpeg's disposition of a cover, which is a video stream that is no film."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The container in `path`, whatever its name. Raises InputUnreadable.

    It is read through a file that is open already, so no part of its name is taken for an address or a pattern, and
    only by CONTAINERS, so that a playlist is no film.
    """
    with contextlib.ExitStack() as stack:
        with reading(path):
            file = stack.enter_context(_file(path))
            options = {
                "format_whitelist": CONTAINERS,
                "protocol_whitelist": "file",
                "max_streams": str(MAX_STREAMS),
            }
            container = av.open(file, "r", options=options, metadata_errors="replace")
        with container:
            yield container


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """What fails inside, as InputUnreadable about `path`."""
    try:
        yield
    except InputUnreadable as error:
        error.path = error.path or path
        raise
    except FFmpegError as error:
        raise InputUnreadable(
            f"the film cannot be read ({error.strerror})", expected="a film file", remedy=AGAIN, path=path
        ) from error
    except OSError as error:
        raise InputUnreadable(
            f"the file cannot be read ({error.strerror})", remedy="check the name and the permissions", path=path
        ) from error


def main_stream(container: InputContainer) -> VideoStream:
    """The film of a container, ready to be decoded: its first video stream that is no cover. Raises InputUnreadable."""
    films = [stream for stream in container.streams.video if not is_cover(stream)]
    if not films:
        kinds = sorted({"a cover" if is_cover(stream) else stream.type for stream in container.streams})
        raise InputUnreadable(f"no video, only {' and '.join(kinds) or 'nothing'}", expected="a film")
    stream = films[0]
    if stream.codec_context is None:
        raise InputUnreadable(
            "video of a codec that nothing here decodes", expected="a film", remedy="ffmpeg -i before"
        )
    stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
    # Threads by frame would be faster, but tell of damaged packets late and, of several, not always the same ones.
    stream.thread_type = "SLICE"
    return stream


def is_cover(stream: Stream) -> bool:
    """Whether a video stream is a still picture that stands for the film."""
    return stream.type == "video" and bool(stream.disposition & ATTACHED_PICTURE)


@contextlib.contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    if not stat.S_ISREG(path.stat().st_mode):  # asked first: to open a FIFO would be to wait for its writer
        raise InputUnreadable("this is no regular file", expected="a film", remedy="- for a pipe of y4m")
    with path.open("rb") as named, open(named.fileno(), "rb", buffering=0, closefd=False) as file:
        yield file  # whose name is a number
