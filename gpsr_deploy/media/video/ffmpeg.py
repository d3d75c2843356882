"""PyAV, which is FFmpeg's libraries, or how to get it."""

from __future__ import annotations

from gpsr_deploy.errors import BackendUnavailable

try:
    import av
    from av.container import InputContainer, OutputContainer
    from av.error import ArgumentError, FFmpegError, InvalidDataError, PatchWelcomeError
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
except ImportError as error:
    raise BackendUnavailable(
        "PyAV is not installed", expected="it for film files", remedy="pip install gpsr-deploy[video]"
    ) from error

__all__ = [
    "ArgumentError",
    "FFmpegError",
    "InputContainer",
    "InvalidDataError",
    "OutputContainer",
    "Packet",
    "PatchWelcomeError",
    "Stream",
    "VideoFrame",
    "VideoStream",
    "av",
]
