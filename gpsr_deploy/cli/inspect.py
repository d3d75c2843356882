"""`gpsr-trt inspect`: what a model file is, for what, from what."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpsr_deploy.cli import output


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "inspect",
        help="what a model file is, for what, from what",
        description="Describes a .safetensors or .onnx file, without running it.",
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
    else:
        for key, value in _flat(found):
            shown = f"{value / 1e9:.1f} G" if key == "macs_720p" else f"{value:,}" if key == "params" else value
            output.text(f"{printable(key):26} {printable(shown)}")
    return 0


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
            from gpsr_deploy import onnx_file

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
            }
        case ".safetensors":
            from gpsr_deploy import checkpoint_file
            from gpsr_deploy.family import MULTIPLE_OF

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
                "sha256": info.sha256,
                "width": info.width,
                "blocks": info.blocks,
                "training": info.training,
            }
        case _:
            raise ModelRefused(
                f"no model is known by the suffix {path.suffix!r}", expected=".onnx or .safetensors", path=path
            )
