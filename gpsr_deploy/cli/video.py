"""`gpsr-trt video`: a film in, a larger film out; files or pipes."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpsr_deploy.cli import model_options, output, video_report
from gpsr_deploy.cli.arguments import height_width, not_negative, positive
from gpsr_deploy.cli.video_report import PIPE
from gpsr_deploy.errors import GpsrError, UsageError

if TYPE_CHECKING:
    from fractions import Fraction

    from gpsr_deploy.backends import Backend
    from gpsr_deploy.films.film import Task
    from gpsr_deploy.films.frames import Preview, Selection
    from gpsr_deploy.media.video.encoder import Encoding
    from gpsr_deploy.media.video.stream import Format, Sink, Source
    from gpsr_deploy.upscaling.upscale import Tiling


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.description = (
        "Enlarges a film: a file, or y4m or raw frames in a pipe. Sound, subtitles and chapters are copied."
    )
    parser.add_argument("input", metavar="INPUT", help="a film, a .y4m file, or - for y4m on stdin")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help=".mkv, .mp4, .mov or .webm, or - for y4m on stdout"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there")
    parser.add_argument("--resume", action="store_true", help="go on where a run that was killed or stopped has ended")

    coding = parser.add_argument_group("encoding")
    coding.add_argument(
        "-c", "--codec", metavar="CODEC", help="FFmpeg's encoder (default: libx264; libx265 for over 8 bits)"
    )
    coding.add_argument("--crf", type=not_negative, metavar="N", help="quality, smaller is better (default: high)")
    coding.add_argument(
        "-e",
        "--encoder-option",
        action="append",
        default=[],
        type=_option,
        metavar="K=V",
        help="an option of the encoder, as ffmpeg's -K V; may be repeated",
    )
    coding.add_argument("--no-audio", action="store_true", help="without sound")
    coding.add_argument("--no-subtitles", action="store_true", help="without subtitles")

    frames = parser.add_argument_group("frames")
    frames.add_argument("--start-frame", type=not_negative, default=0, metavar="N", help="begin with frame N, from 0")
    frames.add_argument("--max-frames", type=positive, metavar="N", help="at most N frames")
    frames.add_argument(
        "--no-dedupe", action="store_true", help="compute frames again that repeat the one before bit for bit"
    )
    frames.add_argument(
        "--segment-frames",
        type=positive,
        metavar="N",
        help="frames that are finished together: what a killed run loses at most (default 100)",
    )
    frames.add_argument(
        "--matrix",
        choices=["601", "709", "2020"],
        help="of a film that does not tell (default: by its size, 709 from 1280x720 on)",
    )
    frames.add_argument("--preview", type=Path, metavar="FILE.png", help="the frame in work beside bicubic, every 3 s")

    raw = parser.add_argument_group("raw video instead of y4m")
    raw.add_argument("--raw-size", type=height_width, metavar="HxW", help="of the frames on stdin")
    raw.add_argument(
        "--raw-format", default="rgb24", metavar="FORMAT", help="of them, as ffmpeg -pix_fmt (default rgb24)"
    )
    raw.add_argument("--raw-fps", type=_rate, default="25", metavar="N[/D]", help="of them (default 25)")
    raw.add_argument("--raw", action="store_true", help="-o - writes raw frames")

    model_options.add_model(parser)
    model_options.add_tiling(parser)
    model_options.add_messages(
        parser, json="progress and result as JSON objects, a line each (with -o - on stderr)", verbose="also how"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Makes the film. Raises GpsrError's children; with --json the failure is an object, too."""
    try:
        _check(options)
        os.environ.setdefault("SVT_LOG", "1")  # libsvtav1 prints its settings otherwise; nothing else turns that off
        tiling = model_options.tiling(options)
        with model_options.opened(options) as backend:
            _video(backend, tiling, options)
    except GpsrError as error:
        error.path = options.input if error.path is None and error.exit_code == 3 else error.path
        if options.json:
            found = {"input": options.input, "error": type(error).__name__, "code": error.exit_code}
            video_report.data(found | {"message": error.message, "try": error.remedy}, options)
        raise
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raises UsageError for what contradicts itself."""
    piped_in, piped_out = options.input == PIPE, options.output == PIPE
    for name, given in (("--resume", options.resume), ("-c", options.codec), ("--crf", options.crf is not None)):
        if piped_out and given:
            raise UsageError(f"{name} with -o -, where frames are not encoded", expected="an output file")
    if options.resume and piped_in:
        raise UsageError("--resume with a pipe, which cannot be read twice", expected="an input file")
    if options.raw and not piped_out:
        raise UsageError("--raw with an output file", expected="-o -")
    if options.raw_size is not None and not piped_in:
        raise UsageError("--raw-size with an input file", expected="- as input")
    if options.preview is not None and options.preview.suffix.lower() != ".png":
        raise UsageError(f"a preview named {options.preview.name!r}", expected="a name that ends in .png")
    if "" in (options.input, options.output):
        raise UsageError("an empty name", expected="a file or -")


def _video(backend: Backend, tiling: Tiling, options: argparse.Namespace) -> None:
    from gpsr_deploy.films import film, frames
    from gpsr_deploy.media import images
    from gpsr_deploy.media.video import pipes
    from gpsr_deploy.media.video import source as sources
    from gpsr_deploy.media.video.preview import side_by_side

    scale = backend.spec.scale
    selection = frames.Selection(start=options.start_frame, limit=options.max_frames)

    def show(lr: Any, sr: Any) -> None:
        try:
            picture = images.Picture(pixels=side_by_side(lr, sr, scale=scale))
            images.write(options.preview, picture, overwrite=True)
        except GpsrError as error:  # a film is worth more than its preview
            output.say(f"warning: {error}")

    preview: Preview | None = None if options.preview is None else show
    path = None if options.input == PIPE else Path(options.input)
    with (
        sources.opened(path, raw=_raw(options), assumed=options.matrix) as source,
        video_report.progress(options) as on_progress,
    ):
        manner = frames.Manner(tiling=tiling, dedupe=not options.no_dedupe, on_progress=on_progress, preview=preview)
        if options.output == PIPE:
            format = pipes.output_format(source.format, scale=scale, keep_matrix=options.matrix is not None)
            if not source.format.constant:
                video_report.warn(
                    f"its frames do not last equally, which a pipe cannot say; it says {format.rate} a second", options
                )
            outcome = frames.enlarge(
                backend, source, _sink(format, options), format.coding, manner=manner, selection=selection
            )
        else:
            task = _task(source, selection, backend, options)
            outcome = film.to_file(backend, source, task, manner=manner)
        video_report.report(backend, source, outcome, options)


def _raw(options: argparse.Namespace) -> Format | None:
    """The format of raw frames on stdin, if that is what comes."""
    from gpsr_deploy.media.video import raw

    if options.raw_size is None:
        return None
    height, width = options.raw_size
    return raw.format_of(options.raw_format, height=height, width=width, rate=options.raw_fps, assumed=options.matrix)


def _sink(format: Format, options: argparse.Namespace) -> Sink:
    """Stdout."""
    from gpsr_deploy.media.video import pipes, raw, y4m

    stream = pipes.standard(1)
    return raw.RawSink(stream, format) if options.raw else y4m.Y4mSink(stream, format)


def _task(source: Source, selection: Selection, backend: Backend, options: argparse.Namespace) -> Task:
    """What is to be made of a film, checked against codec and container."""
    from gpsr_deploy.films import film
    from gpsr_deploy.media.video import container, encoder, remux
    from gpsr_deploy.media.video import source as sources

    target = Path(options.output)
    path = None if options.input == PIPE else Path(options.input)
    encoding, warnings = encoder.choose(
        target,
        source.format,
        scale=backend.spec.scale,
        codec=options.codec,
        crf=options.crf,
        options=dict(options.encoder_option),
    )
    along = remux.Companions()
    if path is not None and not sources.is_y4m(path):
        with container.opened(path) as again:
            along = remux.companions(
                again, target, encoding.container, audio=not options.no_audio, subtitles=not options.no_subtitles
            )
    for warning in (*warnings, *along.left_out):
        video_report.warn(warning, options)
    if options.verbose:
        output.say(f"{encoding.codec} {' '.join(f'{k}={v}' for k, v in encoding.options)}")
    return film.Task(
        source=None if path is None or sources.is_y4m(path) else path,
        target=target,
        encoding=encoding,
        along=along,
        binding=_binding(path, encoding, backend, options),
        selection=selection,
        segment_frames=options.segment_frames or film.SEGMENT_FRAMES,
        resume=options.resume,
        overwrite=options.overwrite,
    )


def _binding(path: Path | None, encoding: Encoding, backend: Backend, options: argparse.Namespace) -> dict[str, str]:
    """All that the output's frames depend on."""
    import hashlib

    from gpsr_deploy import __version__
    from gpsr_deploy.media.video import segments
    from gpsr_deploy.media.video.ffmpeg import av

    engine = model_options.model_path(options)
    with engine.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    libraries = ".".join(map(str, av.library_versions["libavcodec"]))
    return {
        "input": "stdin" if path is None else segments.fingerprint(path),
        "engine": f"SHA-256 {sha256}",
        "runtime": f"{backend.runtime} on {backend.device}",
        "precision": backend.precision,
        "software": f"gpsr-deploy {__version__}, libavcodec {libraries}",
        "encoding": f"{encoding.codec} {encoding.options} {encoding.format}",
        "--start-frame": f"{options.start_frame}",
        "--max-frames": f"{options.max_frames}",
        "--segment-frames": f"{options.segment_frames}",
        "--tile": f"{options.tile} {options.no_tile}",
        "--overlap": f"{options.overlap}",
        "--self-ensemble": f"{options.self_ensemble}",
    }


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE")
    return name, value


def _rate(text: str) -> Fraction:
    from fractions import Fraction

    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}|/[1-9][0-9]{0,6})?", text) or not Fraction(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of frames a second, as 25 or 30000/1001")
    return Fraction(text)
