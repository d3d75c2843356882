"""Stages of a pipeline in threads of their own, between bounded queues: the first error anywhere ends it all."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

LOOK_UP = 0.1
"""Seconds after which a waiting stage looks whether its neighbours still work."""

GRACE = 5.0
"""Seconds that the end waits for a stage that is in a read or a write which may never return."""


class _End:
    """The end of the items, or what ended them."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[T], *, depth: int, check: Callable[[], None]) -> Generator[T, None, None]:
    """`items`, made in a thread that is up to `depth` ahead of the caller.

    What making them raises is raised here; `check` is called while there is nothing to give, to raise what others met.
    """
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in items:
                if not _put(ready, item, stop.is_set):
                    return
            end = _End()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            end = _End(error)
        _put(ready, end, stop.is_set)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = ready.get(timeout=LOOK_UP)
            except queue.Empty:
                check()
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        thread.join(GRACE)


class Behind(Generic[T]):
    """Calls `consume` with each item in a thread that is up to `depth` behind.

    When its `with` ends it has done them all; after an error of others too, unless that takes longer than GRACE.
    """

    def __init__(self, consume: Callable[[T], object], *, depth: int) -> None:
        self._consume = consume
        self._waiting: queue.Queue[T | _End] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def put(self, item: T) -> None:
        """Hands over one item; waits while `depth` are waiting. Raises what `consume` raised."""
        _put(self._waiting, item, self._has_failed)
        self.check()

    def check(self) -> None:
        """Raises what `consume` raised, if it did."""
        if self._error is not None:
            raise self._error

    def _has_failed(self) -> bool:
        return self._error is not None

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    item = self._waiting.get(timeout=LOOK_UP)
                except queue.Empty:
                    continue
                if isinstance(item, _End):
                    return
                self._consume(item)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            if isinstance(error, Exception):  # what was made before it is whole; a signal cannot wait for that
                deadline = time.monotonic() + GRACE
                _put(self._waiting, _End(), lambda: self._error is not None or time.monotonic() > deadline)
                self._thread.join(GRACE)
            self._stop.set()
            self._thread.join(GRACE)
            return
        _put(self._waiting, _End(), self._has_failed)
        while self._thread.is_alive():
            self._thread.join(LOOK_UP)  # in pieces, so that a signal gets through
        self.check()


def _put(to: queue.Queue[T | _End], item: T | _End, given_up: Callable[[], bool]) -> bool:
    """Whether `item` found a place before the other side has `given_up`."""
    while not given_up():
        try:
            to.put(item, timeout=LOOK_UP)
            return True
        except queue.Full:
            continue
    return False
