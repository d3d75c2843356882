"""Enlarges a photograph that ships with the project and shows it beside bicubic: what `make demo` runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pyvips

from gpsr_deploy import samples
from gpsr_deploy.cli import main

HERE = Path(__file__).parent
CROP = (150, 60, 130, 100)
"""Left, top, width and height in LR pixels of the detail in the comparison: the cat's face."""


def run() -> int:
    """Writes the x4 picture and a before/after sheet under demo/out."""
    begin = time.monotonic()
    source = next(path for path in samples.photographs() if path.stem == "chelsea")
    out = HERE / "out"
    target, sheet = out / "chelsea_x4.png", out / "chelsea_before_after.png"
    out.mkdir(exist_ok=True)
    code = main(["infer", str(source), "-o", str(target), "--overwrite", "-q"])
    if code:
        return code
    seconds = time.monotonic() - begin
    compare(source, target, sheet)
    print(f"enlarged 4 times in {seconds:.1f} s:   {target}")
    print(f"bicubic beside GPSR:        {sheet}")
    return 0


def compare(source: Path, enlarged: Path, sheet: Path) -> None:
    """Bicubic on the left, the network on the right, twice the size."""
    left, top, width, height = CROP
    lr, sr = pyvips.Image.new_from_file(str(source)), pyvips.Image.new_from_file(str(enlarged))
    scale = sr.width // lr.width
    bicubic = lr.resize(scale, kernel="cubic")
    details = [picture.crop(left * scale, top * scale, width * scale, height * scale) for picture in (bicubic, sr)]
    details[0].join(details[1], "horizontal", shim=8, background=255, expand=True).write_to_file(str(sheet))


if __name__ == "__main__":
    sys.exit(run())
