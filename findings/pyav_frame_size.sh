#!/usr/bin/env bash
# Guess:   a frame of another size than the stream's is an error.
# Really:  PyAV scales it to the stream's size (and converts its pixel format) without a word, aspect ratio and all.
# Matters: a film whose stream was opened with the LR size takes the enlarged frames, reduces them, and looks like
#          success; a frame of a film that changes its size midway is squeezed.
# Seen:    PyAV 18.1.0 (FFmpeg 8.1.2), November 2026.
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
frames = [np.full((height, width, 3), 90, np.uint8) for height, width in ((64, 64), (256, 128), (30, 46))]
film = io.BytesIO()
with av.open(film, "w", format="matroska") as container:
    stream = container.add_stream("ffv1", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
    for frame in frames:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode())
film.seek(0)
with av.open(film) as container:
    sizes = [(frame.height, frame.width) for frame in container.decode(video=0)]
print(f"expected: an error for the second frame, {frames[1].shape[:2]} in a stream of (64, 64)")
print(f"seen:     no error, and frames of {sizes}")
if sizes != [(64, 64)] * 3:
    sys.exit("The behaviour changed: frames of another size are no longer scaled.")
PYTHON
