"""`gpsr-trt inspect`: what a model file is, for what, from what."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpsr_deploy.cli import output

UNKNOWN = ("name", "scale", "params", "macs_720p", "halo", "multiple_of", "tiling", "dtype", "checkpoint_sha256")
"""What nobody can say of a plan without its sidecar."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.description = (
        "Describes a .safetensors, .onnx or .plan file, without running it: needs no GPU and no TensorRT."
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the description. Raises InputUnreadable or ModelRefused."""
    from gpsr_deploy.errors import printable

    found = describe(options.file)
    if options.json:
        output.data(found)
        return 0
    if found.get("sidecar", "") is None:
        found = {key: value for key, value in found.items() if value is not None}
        output.say(f"there is no {printable(options.file.name)}.json beside it: this is what the plan's header tells")
    for key, value in _flat(found):
        output.text(f"{printable(key):26} {printable(_shown(key, value))}")
    return 0


def _shown(key: str, value: object) -> object:
    match key, value:
        case "macs_720p", float():
            return f"{value / 1e9:.1f} G"
        case "params", int():
            return f"{value:,}"
        case "profile.min" | "profile.opt" | "profile.max", (height, width):
            return f"{height}x{width}"
        case _, tuple():
            return ", ".join(map(str, value))
        case "checksum", bool():
            return "holds" if value else "none: damage would go unnoticed"
        case "parity", None:
            return "not compared yet"
        case _, None:
            return "-"
    return value


def _flat(found: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values, those of inner objects as `outer.inner`."""
    for key, value in found.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def describe(path: Path) -> dict[str, object]:
    """The facts of INTERFACE.md's `inspect --json` about the file at `path`."""
    from gpsr_deploy.errors import ModelRefused

    match path.suffix.lower():
        case ".onnx":
            from gpsr_deploy.model_files import onnx as onnx_file

            model = onnx_file.read(path)
            spec = asdict(model.spec)
            return {
                "kind": "onnx",
                "name": spec.pop("name"),
                "scale": spec.pop("scale"),
                "params": model.costs.params,
                "macs_720p": model.costs.macs_720p,
                **spec,
                "sha256": model.sha256,
                "checksum": not model.warnings,
                "loss_db": model.quality.loss_db,
                "float_layers": model.quality.float_layers,
            }
        case ".safetensors":
            from gpsr_deploy.model_files import checkpoint as checkpoint_file
            from gpsr_deploy.network.family import MULTIPLE_OF

            info = checkpoint_file.read_info(path)
            return {
                "kind": "safetensors",
                "name": info.name,
                "scale": info.scale,
                "params": info.params,
                "macs_720p": info.macs_720p,
                "dtype": {"F32": "fp32", "F16": "fp16"}.get(info.dtype, info.dtype),
                "halo": None,
                "multiple_of": MULTIPLE_OF,
                "tiling": "aligned",
                "checkpoint_sha256": info.sha256,
                "sha256": info.sha256,
                "checksum": not info.warnings,
                "width": info.width,
                "blocks": info.blocks,
                "training": info.training,
            }
        case ".plan" | ".engine":
            return describe_engine(path)
        case _:
            raise ModelRefused(
                f"no model is known by the suffix {path.suffix!r}", expected=".plan, .onnx or .safetensors", path=path
            )


def describe_engine(path: Path) -> dict[str, object]:
    """The same facts of an engine, its plan being as it was built; of a plan without a sidecar what its header tells."""
    from gpsr_deploy.model_files import engine as engine_file

    if not engine_file.has_sidecar(path):
        content, header = engine_file.read_foreign(path)
        return {
            "kind": "plan",
            **dict.fromkeys(UNKNOWN),
            "sha256": hashlib.sha256(content).hexdigest(),
            "checksum": False,
            "runtime": header.runtime,
            "runtime_version": header.version,
            "compute_capabilities": header.compute_capabilities or None,
            "profile": None,
            "weights": None,
            "onnx_sha256": None,
            "parity": None,
            "sidecar": None,
        }
    spec = engine_file.read(path).spec
    network = asdict(spec.sr)
    return {
        "kind": "plan",
        "name": network.pop("name"),
        "scale": network.pop("scale"),
        "params": spec.costs.params,
        "macs_720p": spec.costs.macs_720p,
        **network,
        "sha256": spec.plan_sha256,
        "checksum": True,
        "runtime": spec.runtime,
        "runtime_version": spec.runtime_version,
        "compute_capabilities": spec.compute_capabilities,
        "profile": asdict(spec.profile),
        "weights": spec.weights,
        "onnx_sha256": spec.onnx_sha256,
        "parity": asdict(spec.parity) if spec.parity else None,
    }
