"""Makes a checkpoint of a PyTorch file of weights (.pth, .pt), which is a pickle: nothing else here opens one.

    python export/from_pth.py weights.pth --model nano --scale 4 -o gpsr_nano_x4.safetensors

torch reads it with `weights_only`, which builds tensors and runs no code. The names must be those of our network, alone or
under the prefix `module.`, in the file itself or under `params_ema`, `params`, `state_dict` or `model`.
"""

from __future__ import annotations

import gpsr_deploy.cli.early  # noqa: F401 - first, since what follows takes seconds

# isort: split

import argparse
import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from gpsr_deploy import atomic
from gpsr_deploy.cli import program
from gpsr_deploy.cli.arguments import Parser
from gpsr_deploy.errors import ModelRefused, OutputUnwritable, UsageError
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.model_files import gate
from gpsr_deploy.network.family import config_of
from gpsr_deploy.network.gpsr import GPSR

INNER = ("params_ema", "params", "state_dict", "model")
"""Keys under which trainers keep the weights, the averaged ones first."""


def weights_of(content: bytes) -> dict[str, Tensor]:
    """The weights in a file of torch's, by name, without the prefix of DataParallel. Raises ModelRefused."""
    try:
        if not zipfile.is_zipfile(BytesIO(content)):
            raise pickle.UnpicklingError("no archive")
        found = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:
        raise ModelRefused(
            f"torch finds no weights in it ({(str(error).strip().splitlines() or [type(error).__name__])[0]})",
            expected="what torch.save writes, since 1.6: an archive of tensors and nothing else",
            remedy="ask its author for .safetensors",
        ) from error
    for key in INNER:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelRefused("the file holds no table of tensors", expected="a state_dict")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def convert(source: Path, target: Path, *, member: str, scale: int) -> None:
    """Writes the checkpoint. Raises InputUnreadable, ModelRefused (not the weights of this network) or OutputUnwritable."""
    content = gate.read(source, most=checkpoint_file.MAX_BYTES)
    network = GPSR(config_of(member, scale=scale))
    try:
        checkpoint_file.fill(network, weights_of(content), name=f"{member} x{scale}, as --model and --scale say")
    except ModelRefused as error:
        error.path = source
        raise
    origin = {"converted_from": source.name, "sha256": hashlib.sha256(content).hexdigest()}
    checkpoint_file.save(network, target, member=member, training=origin)


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = Parser(
        description="Make a checkpoint of a PyTorch file of weights.", formatter_class=argparse.HelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE.pth")
    parser.add_argument("--model", choices=["gpsr", "lite", "nano"], default="gpsr")
    parser.add_argument("--scale", type=int, choices=[4, 8], default=4)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="X.safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    options = parser.parse_args(arguments)
    if options.output.suffix.lower() != ".safetensors":
        raise UsageError(f"the output is named {options.output.name!r}", expected="a name that ends in .safetensors")
    if options.output.exists() and not options.overwrite:
        raise OutputUnwritable("the output exists", remedy="--overwrite, or another name", path=options.output)
    atomic.require_writable(options.output)
    convert(options.file, options.output, member=options.model, scale=options.scale)
    print(f"{options.output}: {checkpoint_file.read_info(options.output).name}")
    return 0


if __name__ == "__main__":
    program.run(main)
