"""Builds every engine that this machine can build, and shows a table of them: what each is for, and its proof.

    python engines/build_all.py                                 every model that ships, as tiles and 540p to 1080p frames
    python engines/build_all.py my_x4.onnx --profiles tile -o engines/

Engines land in this folder, which git ignores. What cannot be built is listed with the reason, and the exit code is 8.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from gpsr_deploy import atomic, models
from gpsr_deploy.building.make_engine import installed, make_engine
from gpsr_deploy.cli import output, program
from gpsr_deploy.cli.arguments import Parser
from gpsr_deploy.errors import BatchIncomplete, GpsrError
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.spec import EngineRuntime, EngineSpec
from profiles import PROFILES


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One line of the table."""

    path: Path
    megabytes: float
    seconds: float
    spec: EngineSpec

    @property
    def proof(self) -> str:
        """What the comparison with the ONNX model gave."""
        parity = self.spec.parity
        if parity is None:
            return "not compared: no GPU here that it is for"
        psnr = "equal" if parity.psnr_db is None else f"{parity.psnr_db:.1f} dB"
        return f"{psnr}, {parity.max_level} level, {parity.gpu}"


def one(model: Path, profile: str, runtime: EngineRuntime, folder: Path) -> Built:
    """Builds one engine. Raises GpsrError's children."""
    suffix = "rtx" if runtime == "tensorrt-rtx" else "trt"
    path = folder / f"{model.stem}_{profile}_{suffix}.plan"
    begin = time.monotonic()
    spec = make_engine(onnx_file.read(model), path, PROFILES[profile], runtime=runtime, overwrite=True)
    return Built(path=path, megabytes=path.stat().st_size / 1e6, seconds=time.monotonic() - begin, spec=spec)


def table(built: list[Built]) -> str:
    """The engines in columns."""
    lines = [("engine", "MB", "seconds", "GPUs", "weights", "onnx~engine")]
    for each in built:
        weights = " ".join(each.spec.weights)
        gpus = " ".join(each.spec.compute_capabilities)
        lines.append((each.path.name, f"{each.megabytes:.1f}", f"{each.seconds:.1f}", gpus, weights, each.proof))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def main(arguments: list[str]) -> int:
    """Builds what is asked for; returns the exit code. Raises BatchIncomplete where some could not be built."""
    parser = Parser(description="Build every engine that this machine can build.")
    parser.add_argument("models", type=Path, nargs="*", metavar="MODEL.onnx", help="default: those that ship")
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES), metavar="NAME")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(__file__).parent, metavar="DIR", help="default: engines/"
    )
    options = parser.parse_args(arguments)
    atomic.make_folder(options.output)
    built, failed = [], 0
    for runtime in installed():
        for model in options.models or models.files():
            for profile in options.profiles:
                try:
                    built.append(one(model, profile, runtime, options.output))
                except GpsrError as error:
                    output.say(error)
                    failed += 1
    output.text(table(built))
    if failed:
        raise BatchIncomplete(
            f"{failed} of {failed + len(built)} engines could not be built", remedy="see the errors above"
        )
    return 0


if __name__ == "__main__":
    program.run(main)
