"""What a film costs beside its network: decoding, colours, queues, encoding, segments, the last mux. One run, in turns.

    python benchmarks/video.py [--frames 24] [--rounds 3] [--size 180x320] [--threads 2] [-c libx264]

1. The model alone, frame after frame from RGB in memory, against `gpsr-trt video`'s own function from file to file, in the
   same process: their difference over the former is the overhead.
   The same with a network that only repeats pixels: what is left is everything else, and steadier on a busy machine.
2. The same film with every frame three times, with and without the comparison that finds repeated frames.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np

from gpsr_deploy import models, samples
from gpsr_deploy.backends import Backend, open_backend
from gpsr_deploy.cli.arguments import height_width
from gpsr_deploy.films import film, frames
from gpsr_deploy.media import images
from gpsr_deploy.media.video import container, encoder, remux, source
from gpsr_deploy.upscaling.upscale import Tiling


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


class Repeating:
    """A backend like another, of which the network costs next to nothing."""

    def __init__(self, like: Backend) -> None:
        self.spec, self.profile, self.runtime, self.device = like.spec, like.profile, "none", "cpu"
        self.bytes_per_pixel = like.bytes_per_pixel

    def infer(self, batch: np.ndarray) -> np.ndarray:
        """See Backend.infer."""
        return batch.repeat(self.spec.scale, axis=2).repeat(self.spec.scale, axis=3)

    def close(self) -> None:
        """See Backend.close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


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
        alone, filmed, without_network = [], [], []
        for number in range(options.rounds + 1):
            one = timed(lambda: [backend.infer(batch) for batch in batches])
            other = timed(lambda: whole(backend, path, target, codec=options.codec))
            rest = timed(lambda: whole(Repeating(backend), path, target, codec=options.codec))
            if number:  # the first warms up
                without_network.append(rest / len(frames) * 1e3)
                alone.append(one / len(frames) * 1e3)
                filmed.append(other / len(frames) * 1e3)
        height, width = (size * backend.spec.scale for size in options.size)
        print(
            f"{options.size[1]}x{options.size[0]} -> {width}x{height}, {options.threads} threads, {options.frames} frames,"
        )
        print(f"median of {options.rounds} rounds in turns; ms a frame on the clock, and of all processors together:")
        contestants = {
            "the model alone": alone,
            "the film, file to file": filmed,
            "the film, pixels repeated": without_network,
        }
        for name, times in contestants.items():
            print(f"  {name:26}{np.median(times, axis=0)[0]:9.1f}{np.median(times, axis=0)[1]:9.1f}")
        over = 100 * (np.array(filmed) / np.array(alone) - 1)
        middle = np.median(over, axis=0)
        rounds = ", ".join(f"{clock:.1f} / {processors:.1f} %" for clock, processors in over)
        print(f"  {'overhead':26}{middle[0]:7.1f} %{middle[1]:7.1f} %   rounds: {rounds}")
        share = 100 * np.median(without_network, axis=0)[1] / np.median(alone, axis=0)[1]
        print(f"  all but the network takes {share:.1f} % of the processor time that the model alone takes")
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
