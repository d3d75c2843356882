"""Shell scripts that put `gpsr-trt video` between a decoder and an encoder: GStreamer's, or ffmpeg's."""

from __future__ import annotations

from gpsr_deploy.package.source import Source, facts, model_files
from gpsr_deploy.package.template import File, render


def gstreamer(source: Source) -> dict[str, File]:
    """By name."""
    return _files(source, "gstreamer", ("film.sh", "tight.py", "README.md"))


def ffmpeg(source: Source) -> dict[str, File]:
    """By name."""
    return _files(source, "ffmpeg", ("film.sh", "README.md"))


def _files(source: Source, target: str, names: tuple[str, ...]) -> dict[str, File]:
    engine = source.engine
    values = {
        "FILE": source.file,
        "SCALE": source.sr.scale,
        "EXTRAS": {None: "cpu", "tensorrt-rtx": "rtx", "tensorrt": "trt"}[
            engine.runtime if engine is not None else None
        ],
    }
    made = {name: render(f"{target}/{name}", values, header=facts(source, target)) for name in names}
    return made | {name: File(content=content) for name, content in model_files(source, source.file).items()}
