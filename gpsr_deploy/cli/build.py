"""`gpsr-trt build`: an engine from an ONNX model, for this GPU or others, and its proof where it can run."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpsr_deploy.cli import inspect, output
from gpsr_deploy.cli.arguments import height_width, positive
from gpsr_deploy.errors import ModelRefused, UsageError, printable

if TYPE_CHECKING:
    from gpsr_deploy.backends.cuda import Cuda
    from gpsr_deploy.building.build import Progress
    from gpsr_deploy.spec import EngineSpec, Profile

DEFAULT_OPT, DEFAULT_MAX = (240, 240), (960, 960)
"""LR pixels."""

DEFAULT_BATCH = 4

DEFAULT_DEVICE = "cuda"


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.description = (
        "Builds an engine from an ONNX model. Its precision is the model's: there is no --fp16, build from X_fp16.onnx. "
        "Where the engine can run here it is compared with the model at once, and left only if it computes the same."
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("-o", "--output", type=Path, metavar="X.plan", help="default: the model's name, here")
    parser.add_argument("--overwrite", action="store_true", help="replace an engine that is there")
    parser.add_argument(
        "--runtime",
        choices=["tensorrt", "tensorrt-rtx"],
        help="tensorrt-rtx builds anywhere, for GeForce and RTX GPUs; tensorrt for the GPU it runs on (default: what is there)",
    )
    parser.add_argument(
        "--gpu",
        type=_capabilities,
        metavar="8.6,8.9",
        help="compute capabilities that a tensorrt-rtx engine is for (default: all that it knows)",
    )
    sizes = parser.add_argument_group("sizes (LR pixels, rounded up to what the network needs)")
    sizes.add_argument(
        "--min",
        "--minShapes",
        type=_shape,
        metavar="HxW",
        help="smallest picture or tile (default: any that the network takes)",
    )
    sizes.add_argument(
        "--opt",
        "--optShapes",
        type=_shape,
        metavar="HxW",
        help=f"the one that it is built for (default {DEFAULT_OPT[0]}x{DEFAULT_OPT[1]}, or the nearest within the others)",
    )
    sizes.add_argument(
        "--max",
        "--maxShapes",
        type=_shape,
        metavar="HxW",
        help=f"largest (default {DEFAULT_MAX[0]}x{DEFAULT_MAX[1]}, or --opt where that is larger)",
    )
    sizes.add_argument("--batch", type=positive, metavar="N", help=f"tiles at once, at most (default {DEFAULT_BATCH})")
    effort = parser.add_argument_group("effort")
    effort.add_argument(
        "--optimization-level",
        "--builderOptimizationLevel",
        type=_level,
        metavar="0-5",
        help="default: the library's own, 3",
    )
    effort.add_argument(
        "--timing-cache", "--timingCacheFile", type=Path, metavar="FILE", help="tensorrt: makes the next build faster"
    )
    parser.add_argument(
        "--device", default=DEFAULT_DEVICE, type=_device, metavar="cuda[:INDEX]", help="the GPU to build and prove on"
    )
    parser.add_argument("--json", action="store_true", help="what was built, as `inspect --json`")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, nothing said but errors")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Builds, proves where it can run, writes plan and sidecar. Raises GpsrError's children and leaves no engine then."""
    from gpsr_deploy.building.make_engine import gpu, make_engine, require_free
    from gpsr_deploy.model_files import onnx as onnx_file

    path: Path = options.output or Path(f"{options.model.stem or 'model'}.plan")
    require_free(path, overwrite=options.overwrite)
    _require_own_names(path, options)
    model = onnx_file.read(options.model)
    for warning in model.warnings:
        output.warn(options.model, warning)
    profile = profile_of(options, model.spec.multiple_of)
    device = int(options.device.partition(":")[2] or 0)
    if options.runtime == "tensorrt" or options.device != DEFAULT_DEVICE:
        _require_gpu(device)
    with _progress_bar(printable(options.model.name), shown=not options.quiet) as on_progress:
        spec = make_engine(
            model,
            path,
            profile,
            runtime=options.runtime,
            compute_capabilities=options.gpu,
            device=device,
            overwrite=options.overwrite,
            optimization_level=options.optimization_level,
            timing_cache=options.timing_cache,
            on_progress=on_progress,
        )
    if options.json:
        output.data(inspect.describe(path))
    if not options.quiet:
        _tell(path, spec, gpu(device)[0])
    return 0


def profile_of(options: argparse.Namespace, multiple_of: int) -> Profile:
    """The sizes asked for, with what was not asked for beside them. Raises UsageError where they contradict each other."""
    from gpsr_deploy.spec import Profile
    from gpsr_deploy.upscaling.tiles import round_up

    def rounded(shape: Sequence[int]) -> tuple[int, int]:
        return round_up(shape[-2], multiple_of), round_up(shape[-1], multiple_of)

    batches = {shape[0] for shape in (options.opt, options.max) if shape and len(shape) == 3}
    batches |= {options.batch} if options.batch else set()
    if options.batch and len(batches) > 1:
        raise UsageError(
            f"batches of {' and '.join(map(str, sorted(batches)))}", expected="one, in --batch or the shapes"
        )
    batch = max(batches, default=DEFAULT_BATCH)
    if options.min and len(options.min) == 3 and options.min[0] > batch:
        raise UsageError(f"--min with batches of {options.min[0]}", expected=f"at most {batch}, the batch")
    low = rounded(options.min) if options.min else (multiple_of, multiple_of)
    most = rounded(options.max) if options.max else None
    best = rounded(options.opt) if options.opt else _between(rounded(DEFAULT_OPT), low, most)
    high = most or _between(rounded(DEFAULT_MAX), best, None)
    try:
        return Profile(min=low, opt=best, max=high, batch=batch)
    except ModelRefused as error:
        raise UsageError(
            error.found, expected=error.expected, remedy="--min, --opt and --max in rising order, and a smaller --batch"
        ) from error


def _require_own_names(path: Path, options: argparse.Namespace) -> None:
    """Raises UsageError where what is written would replace the model, or something else that is none of ours."""
    from gpsr_deploy.model_files import cache as cache_file
    from gpsr_deploy.model_files.engine import sidecar_path

    cache: Path | None = options.timing_cache
    for one, other in itertools.combinations((options.model, path, sidecar_path(path), cache), 2):
        if other is not None and os.path.realpath(one) == os.path.realpath(other):
            raise UsageError("one file for two purposes", expected="another name", path=other)
    if cache and not cache_file.may_replace(cache):
        raise UsageError("this is no timing cache of ours, and would be replaced", expected="another name", path=cache)


def _require_gpu(index: int) -> None:
    """Raises BackendUnavailable where there is no such GPU: it was asked for, or TensorRT needs one."""
    from gpsr_deploy.backends.cuda import bindings
    from gpsr_deploy.building.make_engine import gpu

    bindings()
    _, none_here = gpu(index)
    if none_here is not None:
        none_here.remedy = "--runtime tensorrt-rtx without --device, which builds where there is no GPU"
        raise none_here


def _between(wanted: tuple[int, int], low: Sequence[int], high: Sequence[int] | None) -> tuple[int, int]:
    """The size nearest to `wanted` from `low` to `high`, if there is an upper limit."""
    height, width = (max(side, least) for side, least in zip(wanted, low, strict=True))
    return (height, width) if high is None else (min(height, high[0]), min(width, high[1]))


def _tell(path: Path, spec: EngineSpec, cuda: Cuda | None) -> None:
    weights = ", ".join(f"{name} {share:.0%}" for name, share in spec.weights.items())
    sizes = [f"{height}x{width}" for height, width in (spec.profile.min, spec.profile.opt, spec.profile.max)]
    output.say(f"{printable(path)}  {path.stat().st_size / 1e6:.1f} MB")
    output.say(f"  {spec.runtime} {spec.runtime_version} for GPUs of {', '.join(spec.compute_capabilities)}")
    output.say(
        f"  weights: {weights}; {sizes[0]} to {sizes[2]}, best at {sizes[1]}; batches up to {spec.profile.batch}"
    )
    if spec.parity is not None:
        psnr = "equal" if spec.parity.psnr_db is None else f"{spec.parity.psnr_db:.1f} dB"
        output.say(f"  onnx~engine on {spec.parity.gpu}: {psnr}, at most {spec.parity.max_level} level")
    else:
        why = "no GPU here" if cuda is None else f"this GPU is a {cuda.compute_capability}"
        output.say(f"  not compared with the model yet: {why}; `infer` does that where the engine first runs")


@contextlib.contextmanager
def _progress_bar(title: str, *, shown: bool) -> Iterator[Progress | None]:
    """Phase, share and time left, on the terminal's stderr; nothing where stderr goes elsewhere."""
    if not shown or not output.to_terminal():
        yield None
        return
    from tqdm import tqdm

    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left: {postfix}"
    with tqdm(desc=title, total=1.0, leave=False, file=sys.stderr, bar_format=form) as bar:

        def on_progress(phase: str, share: float) -> None:
            bar.set_postfix_str(phase, refresh=False)
            bar.update(share - bar.n)

        yield on_progress


def _shape(text: str) -> tuple[int, ...]:
    """HEIGHTxWIDTH, or trtexec's `lr:Nx3xHxW`: (H, W) or (N, H, W)."""
    if ":" not in text:
        return height_width(text)
    found = re.fullmatch(r"lr:([0-9]{1,4})x3x([0-9]+x[0-9]+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected lr:Nx3xHEIGHTxWIDTH")
    return positive(found[1]), *height_width(found[2])


def _capabilities(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(re.fullmatch(r"[0-9]{1,2}\.[0-9]", part) for part in found):
        raise argparse.ArgumentTypeError(f"{text!r}: expected compute capabilities like 8.6,8.9 (an RTX 4090 is 8.9)")
    return found


def _level(text: str) -> int:
    if text not in ("0", "1", "2", "3", "4", "5"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 to 5")
    return int(text)


def _device(text: str) -> str:
    if not re.fullmatch(r"cuda(:[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected cuda or cuda:INDEX")
    return text
