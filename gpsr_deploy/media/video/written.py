"""A file that FFmpeg writes to: all of it, and what the system refused is not lost, as it is in PyAV's close."""

from __future__ import annotations

import io
from typing import Any


class Written(io.FileIO):
    """An open file for a muxer."""

    _refused: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes all of `data`; a raw file may take a part, which no muxer expects."""
        rest = memoryview(data).cast("B")
        try:
            while rest:
                rest = rest[super().write(rest) or 0 :]
        except OSError as error:
            self._refused = self._refused or error
            raise
        return memoryview(data).nbytes

    def check(self) -> None:
        """Raises the first OSError that a write met. To be called once the muxer is closed."""
        if self._refused is not None:
            raise self._refused
