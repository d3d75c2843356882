"""SIGINT and SIGTERM end a command soon and cleanly, also while native code runs."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from gpsr_deploy import atomic
from gpsr_deploy.cli import output

_last_words: list[Callable[[], str]] = []

GRACE = 1.0
"""Seconds that a command has to unwind after a signal, before the process ends where it stands."""


class Terminated(BaseException):
    """SIGTERM arrived: unwinds like KeyboardInterrupt, so that temporary files are removed."""


def last_words(words: Callable[[], str]) -> None:
    """Sets what is said if an interrupt ends the command: what `words` gives then."""
    _last_words[:] = [words]


def say_interrupted() -> None:
    """Says on stderr that an interrupt ended the command, and its last words."""
    words = "".join(words() for words in _last_words)
    output.say(f"interrupted; {words or 'what is finished stays'}")


@contextlib.contextmanager
def raising_on_signals() -> Iterator[None]:
    """Within: SIGINT raises KeyboardInterrupt and SIGTERM raises Terminated, as soon as Python code runs.

    Where code that is at work makes another error of that, as some does that is just being imported, it is that again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    previous = {
        number: signal.signal(number, end)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN  # as for what a shell started in the background
    }
    try:
        yield
    except Exception:
        if arrived:
            raise KeyboardInterrupt if arrived[0] == signal.SIGINT else Terminated from None
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """As raising_on_signals, and soon, also while native code runs.

    A network's run is native code of many seconds in which Python sees no signal. So a thread hears of it through a pipe,
    and where the command has not ended after GRACE it removes the temporary files and ends the process, with the same exit
    code.
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
            atomic.abandon()
            if number[0] == signal.SIGINT:
                say_interrupted()
            os._exit(128 + number[0])

    watcher = threading.Thread(target=watch, daemon=True)
    try:
        with raising_on_signals():
            previous = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
            watcher.start()
            try:
                yield
            finally:
                ended.set()
                signal.set_wakeup_fd(previous)
    finally:
        os.close(told)
        watcher.join(GRACE)
        os.close(heard)
