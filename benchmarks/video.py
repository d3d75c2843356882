"""What a film costs beside its network: decoding, colours, queues, encoding, segments, the last mux. One run, in turns.

    python benchmarks/video.py [--frames 24] [--rounds 3] [--size 180x320] [--threads 2] [-c libx264]

1. The model alone, frame after frame from RGB in memory, against `gpsr-trt video`'s own function from file to file, in the
   same process: their difference over the former is the overhead.
2. The same film with every frame three times, with and without the comparison that finds repeated frames.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from gpsr_deploy import film, frames, images, models, samples
from gpsr_deploy.backends import Backend, open_backend
from gpsr_deploy.cli.arguments import height_width
from gpsr_deploy.upscale import Tiling
from gpsr_deploy.video import container, encoder, remux, source


def pans(count: int, height: int, width: int) -> list[np.ndarray]:
    """Frames of a camera that moves over a photograph, a pixel or two a frame."""
    photo = images.read(next(path for path in samples.photographs() if path.stem == "chelsea")).pixels
    large = np.pad(photo, ((0, height), (0, width), (0, 0)), mode="reflect")
    return [np.ascontiguousarray(large[n : n + height, 2 * n : 2 * n + width]) for n in range(count)]


def write(path: Path, frames: list[np.ndarray]) -> Path:
    """The frames as a film in H.264, as it would come, with nothing lost so that those that repeat do."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=Fraction(25), options={"qp": "0", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def whole(backend: Backend, path: Path, target: Path, *, codec: str | None, dedupe: bool = True) -> frames.Outcome:
    """The film from file to file."""
    with source.opened(path) as opened:
        encoding, _ = encoder.choose(target, opened.format, scale=backend.spec.scale, codec=codec, crf=None, options={})
        with container.opened(path) as again:
            along = remux.companions(again, target, encoding.container, audio=True, subtitles=True)
        task = film.Task(
            source=path,
            target=target,
            encoding=encoding,
            along=along,
            binding={},
            selection=frames.Selection(),
            overwrite=True,
        )
        return film.to_file(backend, opened, task, manner=frames.Manner(tiling=Tiling(), dedupe=dedupe))


def timed(work: Callable[[], object]) -> np.ndarray:
    """Seconds on the clock, and of all processors together: the latter tell more where others use the machine too."""
    begin = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - begin[0], time.process_time() - begin[1]])


def main() -> None:
    """Prints both comparisons."""
    parser = argparse.ArgumentParser(description="What a film costs beside its network.")
    parser.add_argument("--engine", type=Path, default=models.shipped(4))
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=height_width, default=(180, 320), metavar="HxW")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-c", "--codec")
    options = parser.parse_args()
    frames = pans(options.frames, *options.size)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_backend(options.engine, device="cpu", threads=options.threads) as backend,
    ):
        step = backend.spec.multiple_of
        pads = [(0, 0), (0, 0), *((0, -size % step) for size in options.size)]
        batches = [
            np.pad(frame.transpose(2, 0, 1)[None].astype(np.float32) / 255, pads, mode="edge") for frame in frames
        ]
        path, target = write(Path(folder) / "in.mkv", frames), Path(folder) / "out.mkv"
        alone, filmed = [], []
        for number in range(options.rounds + 1):
            one = timed(lambda: [backend.infer(batch) for batch in batches])
            other = timed(lambda: whole(backend, path, target, codec=options.codec))
            if number:  # the first warms up
                alone.append(one / len(frames) * 1e3)
                filmed.append(other / len(frames) * 1e3)
        height, width = (size * backend.spec.scale for size in options.size)
        print(
            f"{options.size[1]}x{options.size[0]} -> {width}x{height}, {options.threads} threads, {options.frames} frames,"
        )
        print(f"median of {options.rounds} rounds in turns; ms a frame on the clock, and of all processors together:")
        for name, times in (("the model alone", alone), ("the film, file to file", filmed)):
            print(f"  {name:24}{np.median(times, axis=0)[0]:9.1f}{np.median(times, axis=0)[1]:9.1f}")
        over = 100 * (np.array(filmed) / np.array(alone) - 1)
        middle = np.median(over, axis=0)
        rounds = ", ".join(f"{clock:.1f} / {processors:.1f} %" for clock, processors in over)
        print(f"  {'overhead':24}{middle[0]:7.1f} %{middle[1]:7.1f} %   rounds: {rounds}")
        triple = write(
            Path(folder) / "triple.mkv", [frame for frame in frames[: options.frames // 3] for _ in range(3)]
        )
        outcome = whole(backend, triple, target, codec=options.codec)
        repeated = np.array(
            [
                [
                    timed(lambda on=on: whole(backend, triple, target, codec=options.codec, dedupe=on))[0]
                    for on in (True, False)
                ]
                for _ in range(options.rounds)
            ]
        )
        with_it, without = np.median(repeated, axis=0)
        print(f"every frame three times: {outcome.computed} of {outcome.made} frames computed,")
        print(f"  {with_it:.2f} s, and {without:.2f} s with --no-dedupe: {without / with_it:.2f} times as long")


if __name__ == "__main__":
    main()
