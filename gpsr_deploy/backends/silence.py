"""Runtimes that report home when they are imported: kept from it, here and nowhere else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

ONNXRUNTIME_SWITCH = "ORT_DISABLE_TELEMETRY"
"""Environment variable that ONNX Runtime, from 1.29 on, reads once, while it is imported: 1 for no reports."""

OPENVINO_REPORTER = "openvino_telemetry"
"""The package through which `import openvino` reports itself; without it OpenVINO takes a stub of its own."""


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Within: a runtime that is imported writes nothing into the user's home and sends nothing.

    What the user has said explicitly wins: a value of ONNXRUNTIME_SWITCH stays, and OPENVINO_REPORTER stays where the
    program has imported it itself. Afterwards everything is as it was.
    """
    added = ONNXRUNTIME_SWITCH not in os.environ
    hidden = OPENVINO_REPORTER not in sys.modules
    if added:
        os.environ[ONNXRUNTIME_SWITCH] = "1"
    if hidden:
        modules: dict[str, Any] = sys.modules
        modules[OPENVINO_REPORTER] = None  # which makes an import of it an ImportError
    try:
        yield
    finally:
        if added:
            os.environ.pop(ONNXRUNTIME_SWITCH, None)
        if hidden:
            sys.modules.pop(OPENVINO_REPORTER, None)
