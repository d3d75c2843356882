"""GPSR super-resolution (x4, x8), from an engine file to pictures.

with gpsr_deploy.load(scale=4) as upscale:
    sr = upscale(lr)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gpsr_deploy.errors import GpsrError

if TYPE_CHECKING:
    from gpsr_deploy.backends import WantedPrecision, WantedRuntime
    from gpsr_deploy.upscaling.upscaler import Upscaler

__version__ = "0.1.0"
__all__ = ["GpsrError", "__version__", "load"]


def load(
    path: str | Path | None = None,
    *,
    scale: int | None = None,
    device: str = "auto",
    runtime: WantedRuntime = "auto",
    precision: WantedPrecision = "auto",
    threads: int | None = None,
) -> Upscaler:
    """A model, ready to be called with pictures: the one in `path`, or the one that ships for `scale` (4 by default).

    `path` is a .plan, .onnx or .safetensors file, `device` is `auto`, `cpu` or `cuda[:index]`. Where `path` and `scale` are
    given, the file must be of that scale. `auto` for `runtime` and `precision` is the fastest that keeps the model's
    quality; `precision="fp32"` is exact. An engine that was never compared with its ONNX model is, if that lies beside it,
    and the result is kept in its sidecar. Raises GpsrError's children.
    """
    from gpsr_deploy.backends import open_backend
    from gpsr_deploy.backends.choice import shipped
    from gpsr_deploy.spec import ENGINE_RUNTIMES
    from gpsr_deploy.upscaling.upscaler import Upscaler

    model = shipped(scale or 4, runtime=runtime, precision=precision, device=device) if path is None else Path(path)
    backend = open_backend(model, device=device, runtime=runtime, precision=precision, threads=threads, scale=scale)
    try:
        if backend.runtime in ENGINE_RUNTIMES:
            from gpsr_deploy.proof.engines import prove_once  # which brings picture formats, for its photographs

            prove_once(backend, model)
    except GpsrError:
        backend.close()
        raise
    return Upscaler(backend)
