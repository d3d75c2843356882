"""SIGINT and SIGTERM end a command soon and cleanly, also while native code runs."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

GRACE = 1.0
"""Seconds that a command has to unwind after a signal, before the process ends where it stands."""


class Terminated(BaseException):
    """SIGTERM arrived: unwinds like KeyboardInterrupt, so that temporary files are removed."""


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Within: SIGINT raises KeyboardInterrupt and SIGTERM raises Terminated, as soon as Python code runs again.

    A network's run is native code of many seconds in which Python sees no signal. So a thread hears of it through a pipe,
    and where the command has not ended after GRACE it ends the process, with the same exit code. What that leaves behind
    are temporary files, if any, which the next command removes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    ended = threading.Event()

    def watch() -> None:
        number = next(
            (n for n in iter(lambda: os.read(heard, 1), b"") if n[0] in (signal.SIGINT, signal.SIGTERM)), None
        )
        if number and not ended.wait(GRACE):
            os._exit(128 + number[0])

    previous = signal.signal(signal.SIGTERM, _terminate)
    previous_fd = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(previous_fd)
        signal.signal(signal.SIGTERM, previous)
        os.close(told)
        watcher.join(GRACE)
        os.close(heard)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
