"""Films that tests make, what is read back of them, and a network whose result everybody knows: nearest, four times larger."""

import functools
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from project import ROOT

from gpsr_deploy.media.video import decode, tags
from gpsr_deploy.media.video.colour import Coding
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.spec import Profile, SRSpec

SCALE = 4
SPEC = SRSpec(
    name="nearest", scale=SCALE, halo=0, multiple_of=1, tiling="aligned", dtype="fp32", checkpoint_sha256="0" * 64
)
COMMAND = [sys.executable, "-m", "gpsr_deploy", "video"]
TICK = Fraction(1, 1000)

MUXED = {"mkv": "matroska", "mp4": "mp4", "mov": "mov", "avi": "avi", "ts": "mpegts", "webm": "webm"}


def ffmpeg() -> str:
    """A real one, which imageio-ffmpeg brings: not the machine's."""
    return imageio_ffmpeg.get_ffmpeg_exe()


def by_ffmpeg(*words: object) -> bytes:
    """What ffmpeg writes on stdout for these words. It must end well."""
    command = [ffmpeg(), "-v", "error", "-nostdin", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def environment(folder: Path, **programs: str) -> dict[str, str]:
    """One whose `ffmpeg`, `gpsr-trt` and `python` are those of the tests; and `programs`, scripts of sh, stand in for others.

    They lie in `folder`/.bin. What the machine has comes last.
    """
    bin = folder / ".bin"
    bin.mkdir(exist_ok=True)
    if not (bin / "ffmpeg").exists():
        (bin / "ffmpeg").symlink_to(ffmpeg())
    for name, script in programs.items():
        (bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin / name).chmod(0o755)
    path = os.pathsep.join([str(bin), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}


@dataclass
class Nearest:
    """Repeats every pixel. Counts the batches, and fails at one if it is told to."""

    failing: int | None = None
    profile: Profile | None = None
    spec: SRSpec = SPEC
    runtime: str = "nearest"
    precision: str = "fp32"
    device: str = "cpu"
    bytes_per_pixel: int = 100
    batches: list = field(default_factory=list)

    def infer(self, batch):
        self.batches.append(batch.copy())
        if len(self.batches) == self.failing:
            raise RuntimeError("this double was told to fail")
        return batch.repeat(SCALE, axis=2).repeat(SCALE, axis=3)

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@functools.cache
def nearest_content(brightness: float = 1.0) -> bytes:
    """The same as an ONNX model; with another `brightness` another model."""
    from onnx import TensorProto, helper, numpy_helper

    # Each colour SCALE x SCALE times over, as channels that DepthToSpace lays out beside each other.
    weight = (brightness * np.eye(3, dtype=np.float32)).repeat(SCALE**2, axis=0).reshape(-1, 3, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["lr", "weight"], ["spread"]),
            helper.make_node("DepthToSpace", ["spread"], ["sr"], blocksize=SCALE, mode="CRD"),
        ],
        "nearest",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("sr", TensorProto.FLOAT, ["n", 3, "H", "W"])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx_file.stamped(model, SPEC)


def nearest_onnx(folder: Path, *, brightness: float = 1.0) -> Path:
    """The model as a file."""
    path = folder / f"nearest-{brightness}.onnx"
    path.write_bytes(nearest_content(brightness))
    return path


def moving(count: int, *, height: int = 18, width: int = 24, bits: int = 8, chroma=(2, 2), seed: int = 0, limited=True):
    """Planes of `count` frames, each another picture: smooth, of legal levels."""
    random = np.random.default_rng(seed)
    coding = Coding(matrix="601", full=not limited, bits=bits, chroma=chroma)
    frames = []
    for _ in range(count):
        planes = []
        for number, (rows, columns) in enumerate(coding.sizes(height, width)):
            low, high = (110, 146) if number else (60, 180)  # so that no colour lies outside RGB
            small = random.integers(low, high, (-(-rows // 6), -(-columns // 6)))
            plane = small.repeat(6, axis=0).repeat(6, axis=1)[:rows, :columns] << (bits - 8)
            planes.append(plane.astype(coding.dtype))
        frames.append(tuple(planes))
    return frames


def write(
    path: Path,
    frames,
    *,
    pixel_format: str = "yuv420p",
    codec: str = "ffv1",
    options: dict | None = None,
    pts=None,
    tick: Fraction = TICK,
    rate: Fraction = Fraction(25),
    matrix: int = 2,
    colour_range: int = 0,
    primaries: int = 2,
    transfer: int = 2,
    aspect: Fraction | None = None,
    rotation: float | None = None,
    sound: bool = False,
    subtitles: bool = False,
    attachment: bytes = b"",
    chapters: bool = False,
    interlaced: bool = False,
) -> Path:
    """A film of `frames` (planes of each), with whatever else is asked for. `pts` in ticks of `tick`."""
    height, width = frames[0][0].shape
    with av.open(str(path), "w", format=MUXED[path.suffix[1:]]) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        context = stream.codec_context
        context.width, context.height, context.pix_fmt, context.time_base = width, height, pixel_format, tick
        context.colorspace, context.color_range = matrix, colour_range
        context.color_primaries, context.color_trc = primaries, transfer
        stream.time_base = tick
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        output.metadata["title"] = "a film"
        voice = output.add_stream("aac", rate=48000, layout="mono") if sound else None
        if voice is not None:
            voice.metadata["language"] = "fra"
        words = output.add_mux_stream("subrip") if subtitles else None
        if words is not None:
            words.time_base = TICK
        if attachment:
            output.add_attachment("font.ttf", "application/x-truetype-font", attachment)
        if chapters:
            output.set_chapters([{"id": 1, "start": 0, "end": 400, "time_base": TICK, "metadata": {"title": "one"}}])
        output.start_encoding()
        step = round(1 / (rate * tick))
        times = list(pts) if pts is not None else [number * step for number in range(len(frames))]
        if words is not None:
            for start in (0, 120):
                packet = av.Packet(f"words at {start}".encode())
                packet.pts = packet.dts = start
                packet.duration, packet.time_base, packet.stream = 50, TICK, words
                output.mux(packet)
        for number, (planes, time) in enumerate(zip(frames, times, strict=True)):
            frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixel_format)
            for plane, samples in zip(frame.planes, planes, strict=True):
                rows = np.frombuffer(memoryview(plane), samples.dtype)
                stride = plane.line_size // samples.itemsize
                rows[: stride * samples.shape[0]].reshape(-1, stride)[:, : samples.shape[1]] = samples
            frame.pts, frame.time_base = time, tick
            frame.colorspace, frame.color_range = matrix, colour_range
            frame.color_primaries, frame.color_trc = primaries, transfer
            output.mux(stream.encode(frame))
            if voice is not None:
                for part in range(2):
                    heard = av.AudioFrame.from_ndarray(
                        np.sin(np.arange(960, dtype=np.float32) / 7 + number)[None], format="fltp", layout="mono"
                    )
                    heard.sample_rate, heard.pts, heard.time_base = 48000, (2 * number + part) * 960, Fraction(1, 48000)
                    output.mux(voice.encode(heard))
        output.mux(stream.encode(None))
        if voice is not None:
            output.mux(voice.encode(None))
    return path


@dataclass(frozen=True)
class Seen:
    """What another reader finds in a film."""

    frames: tuple
    """Planes of each."""
    seconds: tuple
    """Exact times of the frames."""
    pixel_format: str
    size: tuple[int, int]
    matrix: int
    colour_range: int
    primaries: int
    transfer: int
    aspect: Fraction | None
    matrix_of_display: tuple | None
    packets: dict
    """By type of stream, of all but the film: (SHA-256, seconds) of each packet."""
    chapters: list
    attachments: list
    title: str | None


def see(path: Path) -> Seen:
    """Reads a film with PyAV, and none of our code but for the copying of planes."""
    frames, seconds, packets = [], [], {}
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        for packet in source.demux():
            if packet.stream.type == "video":
                for frame in packet.decode():
                    name = frame.format.name
                    coding = tags.PLANAR[tags.FULL.get(name, tags.REPACKED.get(name, name))]
                    frames.append(decode.planes_of(frame, coding))
                    seconds.append(frame.pts * frame.time_base)
                    last = frame
            elif packet.size:
                digest = hashlib.sha256(bytes(packet)).hexdigest()
                packets.setdefault(packet.stream.type, []).append((digest, packet.pts * packet.time_base))
        return Seen(
            frames=tuple(frames),
            seconds=tuple(seconds),
            pixel_format=last.format.name,
            size=(last.height, last.width),
            matrix=last.colorspace,
            colour_range=last.color_range,
            primaries=last.color_primaries,
            transfer=last.color_trc,
            aspect=stream.sample_aspect_ratio,
            matrix_of_display=decode._display_matrix(last),
            packets=packets,
            chapters=source.chapters(),
            attachments=[bytes(each.data) for each in source.streams if each.type == "attachment"],
            title=source.metadata.get("title"),
        )


def shrunk(planes):
    """Planes of a fourth of the size: the mean of each SCALE x SCALE."""
    return tuple(
        plane.astype(np.float64).reshape(plane.shape[0] // SCALE, SCALE, -1, SCALE).mean(axis=(1, 3))
        for plane in planes
    )


def gpsr(*arguments, largest_file: int | None = None, **options) -> subprocess.CompletedProcess:
    """`gpsr-trt video` in a process of its own; with a disk that is full once a file has so many bytes."""
    limit = [] if largest_file is None else ["prlimit", f"--fsize={largest_file}"]
    return subprocess.run(
        [*limit, *COMMAND, *map(str, arguments)], capture_output=True, timeout=300, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, **options,
    )  # fmt: skip


def cut(path: Path, share: float) -> Path:
    """A copy of which the end is missing."""
    content = path.read_bytes()
    copy = path.with_name(f"cut-{path.name}")
    copy.write_bytes(content[: int(len(content) * share)])
    return copy


def source_of(path: Path, **options):
    """A context with the film's source, as `gpsr-trt video` opens it."""
    from gpsr_deploy.media.video import source

    return source.opened(path, **options)
