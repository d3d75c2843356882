#!/usr/bin/env bash
# Guess:   an encoder's option that is misspelt is an error, as it is for the `ffmpeg` program.
# Really:  PyAV ignores it. (After the first frame `stream.codec_context.options` holds what no one took: there one can
#          look.)
# Matters: {"crff": "1"} writes the film at the default quality, and only a pair of eyes notices.
# Seen:    PyAV 18.1.0 (FFmpeg 8.1.2, libx264), November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet av==18.1.0 numpy==2.4.6
venv/bin/python -W error - <<'PYTHON'
import io
import sys

import av
import numpy as np

print(f"PyAV {av.__version__}")
noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def encoded(options: dict[str, str]) -> tuple[int, dict[str, str]]:
    """The film's size in bytes and the options that are left over."""
    film = io.BytesIO()
    with av.open(film, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
        left_over = dict(stream.codec_context.options)
    return len(film.getvalue()), left_over


default, _ = encoded({})
spelt, _ = encoded({"crf": "1"})
misspelt, left = encoded({"crff": "1"})
print(f"expected: an error for crff=1, or a film as large as with crf=1: {spelt} bytes")
print(f"seen:     {misspelt} bytes, as by default ({default}); left over: {left}")
if misspelt != default or spelt == default:
    sys.exit("The behaviour changed: a misspelt option is no longer ignored.")
PYTHON
