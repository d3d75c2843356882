"""Ready folders for programs that are not ours: a model, what runs it there, and what to type."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from gpsr_deploy.errors import ModelRefused
from gpsr_deploy.package import cpp, folder, pipes, triton, vapoursynth
from gpsr_deploy.package.source import Source, facts
from gpsr_deploy.package.source import read as read_source
from gpsr_deploy.package.template import File, comment

Target = Literal["triton", "vapoursynth", "gstreamer", "ffmpeg", "cpp"]

TARGETS: tuple[Target, ...] = get_args(Target)

_FILES: dict[Target, Callable[[Source], dict[str, File]]] = {
    "triton": triton.files,
    "vapoursynth": vapoursynth.files,
    "gstreamer": pipes.gstreamer,
    "ffmpeg": pipes.ffmpeg,
    "cpp": cpp.files,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was written."""

    target: Target
    folder: Path
    files: tuple[str, ...]
    """Names within the folder, with `/` between their parts, sorted."""
    warnings: tuple[str, ...]
    """What the user should know of the model, one clause each."""


def package(target: Target, model: Path, output: Path, *, scale: int | None = None, overwrite: bool = False) -> Packed:
    """Writes the folder `output`, whole or not at all, for the .plan or .onnx file `model`.

    The model and its sidecar are read through the gate and copied as they are. A model of another `scale` is refused.
    With `overwrite` a folder that an earlier call wrote is replaced, as long as nothing else lies in it. Raises
    InputUnreadable, ModelRefused, OutputUnwritable or UsageError.
    """
    output = folder.require_free(output, overwrite=overwrite)
    source = read_source(model, scale=scale)
    try:
        files = _FILES[target](source)
    except ModelRefused as error:
        error.path = model
        raise
    sums = "".join(f"{hashlib.sha256(files[name].content).hexdigest()}  {name}\n" for name in sorted(files))
    files[folder.SUMS] = File(content=(comment(facts(source, target), "#") + sums).encode())
    folder.write(output, files, overwrite=overwrite)
    return Packed(target=target, folder=output, files=tuple(sorted(files)), warnings=source.warnings)
