"""`gpsr-trt infer`: pictures in, larger pictures out."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gpsr_deploy.cli import model_options, output, signals
from gpsr_deploy.errors import BatchIncomplete, GpsrError, printable

if TYPE_CHECKING:
    from gpsr_deploy.backends import Backend
    from gpsr_deploy.pictures.infer import Result
    from gpsr_deploy.pictures.jobs import Job
    from gpsr_deploy.upscaling.upscale import Tiling


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.description = "Enlarges pictures: files, folders, patterns."
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="a picture, a folder of pictures, or a quoted pattern like '*.png'"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a file for one input, else a folder (default: beside each input)",
    )
    parser.add_argument(
        "-f", "--ext", metavar="EXT", help="format of the output: png, jpg, webp, tif (default: as the input)"
    )
    parser.add_argument(
        "--suffix",
        metavar="TEXT",
        help="added to the name of each output (default: _x4 beside the input, nothing with -o)",
    )
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="folders with their subfolders, laid out alike under OUT"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--skip-existing", action="store_true", help="leave out inputs whose output is there")
    existing.add_argument("--overwrite", action="store_true", help="replace outputs that are there")

    model_options.add_model(parser)
    model_options.add_tiling(parser)
    model_options.add_messages(
        parser, json="one JSON object per picture on stdout", verbose="also how each picture was cut"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Enlarges every input. One input: its own exit code; several: BatchIncomplete (8) where some failed."""
    from gpsr_deploy import atomic
    from gpsr_deploy.pictures import jobs

    tiling = model_options.tiling(options)
    with _backend(options) as backend:
        plan = jobs.collect(
            options.inputs,
            output=options.output,
            suffix=options.suffix,
            extension=options.ext,
            scale=backend.spec.scale,
            recursive=options.recursive,
        )
        for folder in {job.target.parent for job in plan.jobs}:
            atomic.clean_stale(folder)
        for error in plan.unread:
            _failed(str(error.path), error, options)
        if plan.single:
            _alone(backend, plan.jobs[0], tiling, options)
            return 0
        asked = len(plan.jobs) + len(plan.unread)
        failures = len(plan.unread) + _each(backend, plan.jobs, tiling, options)
    if failures:
        raise BatchIncomplete(
            f"{failures} of {asked} inputs failed",
            remedy="see the errors above; --skip-existing goes on where this ended",
        )
    return 0


def _alone(backend: Backend, job: Job, tiling: Tiling, options: argparse.Namespace) -> None:
    """The only picture: its failure is the command's."""
    if options.skip_existing and os.path.lexists(job.target):
        if options.verbose:
            output.say("the output is there already and is left out")
        return
    try:
        _done(_infer(backend, job, tiling, options, overwrite=options.overwrite), backend, options)
    except GpsrError as error:
        error.path = job.source if error.path is None else error.path
        _failed(str(job.source), error, options, said=False)
        raise


def _each(backend: Backend, jobs: Sequence[Job], tiling: Tiling, options: argparse.Namespace) -> int:
    """Every picture of several; returns how many failed. Keeps a journal, by which --skip-existing goes on after a kill."""
    from gpsr_deploy.pictures.journal import Journal, folder_of

    failures = 0
    with Journal(folder_of(jobs), _recipe(backend, options), resume=options.skip_existing) as journal:
        todo = [job for job in jobs if not (options.skip_existing and journal.finished(job))]
        if options.verbose and len(todo) < len(jobs):
            output.say(f"{len(jobs) - len(todo)} outputs are there already and are left out")
        ours = {job.target for job in todo if journal.ours(job)}
        journal.start(overwrites=options.overwrite)
        signals.last_words(
            lambda: f"{sum(map(journal.finished, jobs))} of {len(jobs)} pictures are finished; --skip-existing goes on"
        )
        for number, job in enumerate(todo, 1):
            try:
                journal.begin(job)
                count = f"{number}/{len(todo)} " if len(todo) > 1 else ""
                overwrite = options.overwrite or job.target in ours
                _done(_infer(backend, job, tiling, options, overwrite=overwrite, count=count), backend, options)
                journal.done(job)
            except GpsrError as error:
                error.path = job.source if error.path is None else error.path
                _failed(str(job.source), error, options)
                failures += 1
        journal.close(complete=not failures)
    signals.last_words(lambda: "")
    return failures


def _recipe(backend: Backend, options: argparse.Namespace) -> dict[str, str]:
    """What decides the pixels of an output, in the words of the command line."""
    model = model_options.model_path(options)
    return {
        "model": hashlib.sha256(model.read_bytes()).hexdigest(),
        "--runtime": backend.runtime,
        "--precision": backend.precision,
        "-x": str(options.self_ensemble),
        "--tile": "no" if options.no_tile else "x".join(map(str, options.tile)),
        "--overlap": "by the model" if options.overlap is None else str(options.overlap),
    }


@contextlib.contextmanager
def _backend(options: argparse.Namespace) -> Iterator[Backend]:
    """The model asked for, opened. With --json each input is told of its refusal."""
    stack = contextlib.ExitStack()
    try:
        backend = stack.enter_context(model_options.opened(options))
    except GpsrError as error:
        for name in options.inputs:
            _failed(name, error, options, said=False)
        raise
    with stack:
        yield backend


def _infer(
    backend: Backend, job: Job, tiling: Tiling, options: argparse.Namespace, *, overwrite: bool, count: str = ""
) -> Result:
    from gpsr_deploy.pictures.infer import infer

    title = f"{count}{printable(job.source.name)}"
    with model_options.progress_bar(title, unit="tile", shown=not options.quiet) as on_progress:
        return infer(
            backend,
            job.source,
            job.target,
            tiling=tiling,
            overwrite=overwrite,
            on_progress=on_progress,
        )


def _done(result: Result, backend: Backend, options: argparse.Namespace) -> None:
    for warning in result.warnings:
        if not options.quiet:
            output.warn(result.source, warning)
    if options.verbose:
        grown = any(size > asked > 0 for size, asked in zip(result.tile, options.tile, strict=True))
        rounded = f" (--tile {options.tile[0]}x{options.tile[1]} was rounded up)" if grown else ""
        output.say(
            f"{result.tiles} tiles of {result.tile[0]}x{result.tile[1]} LR pixels, overlap {result.halo}{rounded}"
        )
    if options.json:
        output.data(
            {
                "input": str(result.source),
                "output": str(result.target),
                "width": result.width,
                "height": result.height,
                "scale": backend.spec.scale,
                "backend": backend.runtime,
                "model": backend.spec.name,
                "precision": backend.precision,
                "device": backend.device,
                "tiles": result.tiles,
                "halo": result.halo,
                "seconds": round(result.seconds, 3),
            }
        )
    elif not options.quiet:
        output.say(f"{printable(result.target)}  {result.width}x{result.height}  {result.seconds:.1f} s")


def _failed(name: str, error: GpsrError, options: argparse.Namespace, *, said: bool = True) -> None:
    """Reports that the input `name` failed: on stdout with --json, and on stderr if it is to be said here."""
    if options.json:
        output.data(
            {
                "input": name,
                "error": type(error).__name__,
                "code": error.exit_code,
                "message": error.message,
                "try": error.remedy,
            }
        )
    if said:
        output.say(error)
