"""Imported first by programs whose own imports take seconds: an interrupt meanwhile ends them as it does later."""

from __future__ import annotations

import os
import signal
import sys
from types import TracebackType

from gpsr_deploy.cli.signals import say_interrupted

_show = sys.excepthook


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """As Python's, but for an interrupt that nothing caught; native code may have made another error of it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        _show(kind, error, trace)
        return
    say_interrupted()
    os._exit(128 + signal.SIGINT)


sys.excepthook = _hook
