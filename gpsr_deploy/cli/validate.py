"""`gpsr-trt validate`: proves, seam by seam, that a model computes what it was made from."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpsr_deploy.cli import output
from gpsr_deploy.cli.arguments import not_negative, not_negative_float, positive
from gpsr_deploy.errors import InputUnreadable, ModelRefused, ParityFailed, UsageError, printable
from gpsr_deploy.spec import ENGINE_RUNTIMES

if TYPE_CHECKING:
    from gpsr_deploy.backends import Backend
    from gpsr_deploy.proof.parity import Comparison, Pixels, Tolerance
    from gpsr_deploy.spec import Profile

LARGEST = (240, 240)
"""LR pixels of a picture that are compared, from its middle: in one piece they take a gigabyte or two."""

KINDS = {".safetensors": "torch", ".onnx": "onnx", ".plan": "engine", ".engine": "engine"}
"""What the two sides of a seam are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is printed of one seam: the keys of `--json`."""

    seam: str
    images: int
    psnr_db: float | None
    """None where all values are equal."""
    max_level: int
    share_off_by_one: float
    non_finite: int
    ok: bool


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.description = (
        "Compares a model with what it was made from, and tiles with whole pictures. 7 where a seam does not hold."
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--engine", type=Path, metavar="FILE", help="the model to judge (default: the one that ships for -s)"
    )
    which.add_argument(
        "-s", "--scale", type=positive, default=4, metavar="N", help="of the model that ships (default 4)"
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="what it was made from: a .safetensors, or an .onnx, of the same weights (an engine's is found beside it)",
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="pictures to compare on (default: the photographs that ship)"
    )
    parser.add_argument("--max-level", type=not_negative, metavar="N", help="8-bit levels (default: 1; 8 for int8)")
    parser.add_argument(
        "--min-psnr",
        type=not_negative_float,
        metavar="DB",
        help="against the reference (default: 100 for fp32, 60 for fp16, 40 for int8)",
    )
    parser.add_argument(
        "--layers", action="store_true", help="name the first layer that leaves tolerance (needs gpsr-deploy[layers])"
    )
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu or cuda[:INDEX] (default: auto)")
    parser.add_argument(
        "--save", type=Path, default=Path(), metavar="DIR", help="where a failing case is drawn (default: here)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a seam")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints a row per seam. Raises ParityFailed where one is not ok."""
    from gpsr_deploy import models
    from gpsr_deploy.backends import open_backend
    from gpsr_deploy.proof import parity

    engine = options.engine or models.shipped(options.scale)
    has_source = KINDS.get(engine.suffix.lower()) == "engine"
    if options.reference is None and not has_source and (options.layers or options.min_psnr is not None):
        raise UsageError(
            f"{'--layers' if options.layers else '--min-psnr'} without a --reference",
            expected="something to compare with",
        )
    failed = []
    with contextlib.ExitStack() as stack:
        judged = stack.enter_context(
            open_backend(engine, device=options.device, on_warning=partial(output.warn, engine))
        )
        source = _source_of(engine, judged, options.reference)
        reference = options.reference or source
        pictures = _pictures(options.images, judged.profile)
        for seam, tolerance, comparison in _seams(judged, engine, reference, pictures, options, stack):
            row = _row(seam, tolerance, comparison)
            _show(row, tolerance, as_json=options.json)
            if not row.ok:
                _draw(options.save / f"validate-{seam}.png", parity.picture_of_worst(comparison))
                failed.append(seam)
        runtime = judged.runtime
    if options.layers:
        _show_layers(source or engine, reference, runtime if source else None, options.min_psnr)
    if failed:
        raise ParityFailed(
            f"{' and '.join(failed)} {'do' if len(failed) > 1 else 'does'} not hold",
            expected="what the rows above state",
            remedy="the fp32 model, or export and build it anew",
            path=engine,
        )
    if reference is None:
        output.say(
            "only tiles were compared. Try: --reference with the weights, or the ONNX file, that the model was made from"
        )
    return 0


def _source_of(engine: Path, judged: Backend, reference: Path | None) -> Path | None:
    """The ONNX model that an engine was built from: `reference`, or one that ships or lies beside it; None for other models.

    Raises ModelRefused for an engine of which neither that nor another reference is at hand.
    """
    if judged.runtime not in ENGINE_RUNTIMES:
        return None
    from gpsr_deploy.model_files import engine as engine_file
    from gpsr_deploy.proof import engines

    spec = engine_file.read_sidecar(engine)
    found = engines.model_of(spec, engine.parent, also=reference)
    if found is None and reference is None:
        raise ModelRefused(
            f"the ONNX model that the engine was built from (SHA-256 {spec.onnx_sha256[:12]}...) is not beside it",
            expected="it, to compare the engine with",
            remedy="--reference MODEL.onnx",
            path=engine,
        )
    return found


def _seams(
    judged: Backend,
    engine: Path,
    path: Path | None,
    pictures: list[Pixels],
    options: argparse.Namespace,
    stack: contextlib.ExitStack,
) -> Iterator[tuple[str, Tolerance, Comparison]]:
    """Name, tolerance and comparison of each seam, as soon as it is known; `path` is the reference."""
    from gpsr_deploy.backends import open_backend
    from gpsr_deploy.proof import parity

    if path is not None:
        # The ONNX model of an engine runs on the CPU: the GPU must not judge itself.
        device = "cpu" if KINDS[engine.suffix.lower()] == "engine" else options.device
        reference = stack.enter_context(open_backend(path, device=device, on_warning=partial(output.warn, path)))
        if reference.spec.checkpoint_sha256 != judged.spec.checkpoint_sha256:
            raise ModelRefused(
                f"the reference is made of the weights {reference.spec.checkpoint_sha256[:12]}...",
                expected=f"those of the model, {judged.spec.checkpoint_sha256[:12]}...",
                path=path,
            )
        seam = f"{KINDS[path.suffix.lower()]}~{KINDS[engine.suffix.lower()]}"
        tolerance = parity.tolerance_of(judged.spec.dtype)
        if options.min_psnr is not None:
            tolerance = replace(tolerance, min_psnr_db=options.min_psnr)
        if options.max_level is not None:
            tolerance = replace(tolerance, max_level=options.max_level)
        yield seam, tolerance, parity.backends(judged, reference, pictures)
    if judged.spec.tiling == "aligned":
        most = parity.MAX_LEVEL[judged.spec.dtype] if options.max_level is None else options.max_level
        tolerance = parity.Tolerance(max_level=most, max_share=parity.TILED_SHARE)
        yield "whole~tiled", tolerance, parity.tiling(judged, pictures)


def _show_layers(graph: Path, reference: Path | None, runtime: str | None, min_psnr: float | None) -> None:
    """Says where the model `graph`, as an engine of `runtime` if there is one, first leaves tolerance."""
    from gpsr_deploy.model_files import onnx as onnx_file
    from gpsr_deploy.proof import layers, parity

    if reference is None or {graph.suffix.lower(), reference.suffix.lower()} != {".onnx"}:
        raise UsageError(
            "--layers without two ONNX models", expected="an .onnx or .plan model, and --reference MODEL.onnx"
        )
    judged = onnx_file.read(graph)
    engine = next((flavour for flavour in ENGINE_RUNTIMES if flavour == runtime), None)
    found = layers.compare(judged, onnx_file.read(reference), parity.photographs((96, 96))[0], engine=engine)
    least = parity.MIN_PSNR_DB[judged.spec.dtype] if min_psnr is None else min_psnr
    first = layers.first_beyond(found, min_psnr_db=least)
    if first is None:
        worst = min(found, key=lambda layer: layer.psnr_db)
        output.say(
            f"all {len(found)} layers are within {least:g} dB; the furthest, {printable(worst.name)}: {worst.psnr_db:.1f} dB"
        )
    else:
        output.say(
            f"the first layer beyond {least:g} dB is {printable(first.name)}: {first.psnr_db:.1f} dB, values up to "
            f"{first.peak:.3g}. Try: export/to_onnx.py --precision fp16 --keep-fp32 {printable(first.branch)}"
        )


def _pictures(folder: Path | None, profile: Profile | None) -> list[Pixels]:
    """What is compared: the middle of each picture, of a size that the profile takes."""
    from gpsr_deploy.media import images
    from gpsr_deploy.pictures import jobs
    from gpsr_deploy.proof import parity

    largest = LARGEST if profile is None else profile.nearest(LARGEST)
    if folder is None:
        return parity.photographs(largest)
    if not folder.is_dir():
        raise InputUnreadable("this is no folder", expected="a folder of pictures", path=folder)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in jobs.READ_SUFFIXES)
    if not paths:
        raise InputUnreadable("the folder holds no pictures", expected="PNG, JPEG, WebP, TIFF or GIF", path=folder)
    return [parity.middle(images.read(path).pixels, largest) for path in paths]


def _row(seam: str, tolerance: Tolerance, comparison: Comparison) -> Row:
    found = comparison.agreement()
    return Row(
        seam=seam,
        images=found.images,
        psnr_db=found.psnr_db if math.isfinite(found.psnr_db) else None,
        max_level=found.max_level,
        share_off_by_one=found.share_off_by_one,
        non_finite=found.non_finite,
        ok=tolerance.accepts(found),
    )


def _show(row: Row, tolerance: Tolerance, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        output.data(asdict(row))
        return
    psnr = "equal" if row.psnr_db is None else f"{row.psnr_db:.1f} dB"
    wanted = f"at most {tolerance.max_level} level"
    wanted += f", at least {tolerance.min_psnr_db:g} dB" if tolerance.min_psnr_db else ""
    wanted += f" on {tolerance.max_share:.1%} of the pixels" if tolerance.max_share < 1 else ""
    output.text(
        f"{'ok  ' if row.ok else 'FAIL'} {row.seam:14} {row.images} pictures, {psnr}, {row.max_level} level, "
        f"{row.share_off_by_one:.4%} of the pixels off, {row.non_finite} not finite   ({wanted})"
    )


def _draw(path: Path, worst: object) -> None:
    """Saves where results are furthest apart: wanted, found, difference."""
    from gpsr_deploy.media import images

    if worst is None:
        return
    images.write(path, images.Picture(pixels=worst), overwrite=True)  # type: ignore[arg-type]
    output.say(f"drawn in {path}: wanted, found, and their difference scaled to full range")
