"""The two TensorRTs, which have one API: which module each is, what brings it, and what it has to say."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from gpsr_deploy.errors import BackendUnavailable
from gpsr_deploy.spec import EngineRuntime

MODULES: dict[EngineRuntime, tuple[str, str]] = {
    "tensorrt": ("tensorrt", "trt"),
    "tensorrt-rtx": ("tensorrt_rtx", "rtx"),
}
"""Module and extra by runtime."""


def module_of(runtime: EngineRuntime) -> ModuleType:
    """The module of one flavour. Raises BackendUnavailable where it is not installed, too old, or does not load."""
    name, extra = MODULES[runtime]
    remedy = f"pip install gpsr-deploy[{extra}]"
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise BackendUnavailable(
            f"{runtime} is not installed ({error})", expected=f"the module {name}", remedy=remedy
        ) from error
    version = version_of(module)
    if runtime == "tensorrt" and tuple(map(int, version.split(".")[:2])) < (10, 12):
        raise BackendUnavailable(f"tensorrt {version}", expected="10.12 or later", remedy=remedy)
    return module


def version_of(module: Any) -> str:
    """Version of the library: four numbers, as plans state it."""
    numbers = module.__version__.split(".")[:4]
    return ".".join([*numbers, *["0"] * (4 - len(numbers))])


def messages(trt: Any) -> Any:
    """A logger for the module `trt` that keeps what went wrong in its list `errors`, and prints nothing."""

    class Messages(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(message)

        @property
        def last(self) -> str:
            return self.errors[-1] if self.errors else "it does not say why"

    return Messages()
