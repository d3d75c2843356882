"""`gpsr-trt doctor`: what this machine can run."""

from __future__ import annotations

import argparse
import os
import platform

from gpsr_deploy.cli import output

RUNTIMES = {
    "onnx": ("onnx", "cpu"),
    "onnxruntime": ("onnxruntime", "cpu"),
    "openvino": ("openvino", "cpu"),
    "torch": ("torch", "train"),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "rtx"),
    "tensorrt": ("tensorrt-cu13", "trt"),
    "cuda.bindings": ("cuda-bindings", "rtx"),
    "polygraphy": ("polygraphy", "layers"),
    "pyvips": ("pyvips", "cpu"),
}
"""Module -> its distribution, and the extra that brings it."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.description = "Lists runtimes, processors, memory and shipped models. Exit 5 where `infer` cannot run."
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the findings."""
    from gpsr_deploy import __version__, models
    from gpsr_deploy.backends.choice import BF16_FLAGS, INT8_FLAGS
    from gpsr_deploy.errors import GpsrError
    from gpsr_deploy.machine import available_memory, cores, cpu_flags

    shipped: dict[str, str] = {}
    for scale in models.SHIPPED:
        try:
            shipped[f"x{scale}"] = models.shipped(scale).name
        except GpsrError as error:
            shipped[f"x{scale}"] = f"refused: {error.message}"
    runtimes = {module: _version(module, distribution) for module, (distribution, _) in RUNTIMES.items()}
    memory = available_memory()
    findings: dict[str, object] = {
        "gpsr_deploy": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": cores(),
        "memory_available_mib": memory >> 20 if memory else None,
        "bf16": bool(cpu_flags() & BF16_FLAGS),
        "int8": bool(cpu_flags() & INT8_FLAGS),
        "gpus": _gpus(),
        "models": shipped,
        "runtimes": runtimes,
        "reports": reports(),
    }
    runs = runtimes["onnx"] and runtimes["pyvips"] and (runtimes["onnxruntime"] or runtimes["openvino"])
    ready = bool(runs) and not any(s.startswith("refused") for s in shipped.values())
    findings["infer_ready"] = ready
    if options.json:
        output.data(findings)
    else:
        for name, found in findings.items():
            if isinstance(found, dict):
                output.text(f"{name}:")
                for key, value in found.items():
                    output.text(f"  {key:22} {value or _hint(key)}")
            else:
                output.text(f"{name:24} {', '.join(found) if isinstance(found, list) else found}")
        if not ready:
            output.say("infer cannot run here. Try: pip install --force-reinstall 'gpsr-deploy[cpu]'")
    return 0 if ready else 5


def reports() -> str:
    """Whether a runtime may send reports home from gpsr-deploy: none does, unless the environment says so."""
    from gpsr_deploy.backends.silence import ONNXRUNTIME_SWITCH

    allowed = os.environ.get(ONNXRUNTIME_SWITCH)
    if allowed is None or allowed == "1":
        return "none: no runtime writes to the home folder or sends anything"
    return f"ONNX Runtime's, as {ONNXRUNTIME_SWITCH}={allowed} in the environment allows"


def _hint(module: str) -> str:
    return f"not installed: pip install 'gpsr-deploy[{RUNTIMES[module][1]}]'"


def _version(module: str, distribution: str) -> str | None:
    """The installed version, without importing the module."""
    from importlib import metadata, util

    try:
        if util.find_spec(module) is None:
            return None
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "version unknown"  # from another distribution, as onnxruntime-gpu
    except ModuleNotFoundError:
        return None


def _gpus() -> list[str] | str:
    """Name and compute capability of each GPU; asked of CUDA, and never of TensorRT, which crashes where there is none."""
    from gpsr_deploy.backends.cuda import Cuda, bindings
    from gpsr_deploy.errors import GpsrError

    try:
        api = bindings()
        gpus = [Cuda(api)]  # which says why there is none
        gpus += [Cuda(api, index) for index in range(1, gpus[0].count)]
    except GpsrError as error:
        return f"none: {error.found}"
    return [f"{gpu.name} ({gpu.compute_capability})" for gpu in gpus]
