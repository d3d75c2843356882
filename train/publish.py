"""Turns a run into what ships: its best weights in float16, its log, its configuration.

    python train/publish.py runs/nano-x4 weights/

Export and evaluate the published file, not the run's: float16 rounds the weights.
"""

from __future__ import annotations

import gpsr_deploy.cli.early  # noqa: F401 - first, since what follows takes seconds

# isort: split

from pathlib import Path

from gpsr_deploy import atomic
from gpsr_deploy.cli import program
from gpsr_deploy.cli.arguments import Parser
from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.model_files import checkpoint as checkpoint_file


def publish(run: Path, folder: Path) -> Path:
    """Writes `gpsr_MEMBER_xSCALE.safetensors`, `.log.jsonl` and `.run.json` into `folder`; returns the first.

    Raises GpsrError.
    """
    network, info = checkpoint_file.load(run / "best.safetensors")
    atomic.make_folder(folder)
    target = folder / f"{info.name.replace('-', '_')}.safetensors"
    checkpoint_file.save(network, target, member=info.member, training=info.training, half=True)
    for name in ("log.jsonl", "run.json"):
        try:
            atomic.write(target.with_suffix(f".{name}"), (run / name).read_bytes())
        except OSError as error:
            raise InputUnreadable(f"cannot be read ({error.strerror})", expected="a run's", path=run / name) from error
    return target


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = Parser(description="Write a run's best weights in float16, with its log.")
    parser.add_argument("run", type=Path, metavar="RUN", help="the --out of train.py")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args(arguments)
    print(publish(options.run, options.folder))
    return 0


if __name__ == "__main__":
    program.run(main)
