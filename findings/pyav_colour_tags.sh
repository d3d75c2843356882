#!/usr/bin/env bash
# Guess:   a stream that is set to BT.709 (or to full range) and given RGB frames holds BT.709 (full range): what one
#          writes comes back when it is read.
# Really:  PyAV writes the tag and converts the pixels by BT.601, limited range, all the same. Every reader believes the
#          tag: (200, 37, 91) comes back as (214, 56, 92). The frame must be converted by hand first, with
#          `reformat(format=..., dst_colorspace=..., dst_color_range=...)`.
# Matters: an enlarged film is tagged as its source was, as one should, and has other colours.
# Seen:    PyAV 18.1.0 (FFmpeg 8.1.2), November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import io
import sys

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

print(f"PyAV {av.__version__}")
colour = np.array([200, 37, 91])
rgb = np.tile(colour.astype(np.uint8), (64, 64, 1))


def written_and_read(*, tags: dict[str, int], by_hand: dict[str, int]) -> np.ndarray:
    film = io.BytesIO()
    with av.open(film, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        if by_hand:
            frame = frame.reformat(format="yuv444p", **by_hand)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    film.seek(0)
    with av.open(film) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")[0, 0].astype(int)


bt709, full = {"colorspace": Colorspace.ITU709.value}, {"color_range": ColorRange.JPEG.value}
plain = written_and_read(tags={}, by_hand={})
wrong = written_and_read(tags=bt709, by_hand={}), written_and_read(tags=full, by_hand={})
right = (
    written_and_read(tags=bt709, by_hand={"dst_colorspace": Colorspace.ITU709}),
    written_and_read(tags=full, by_hand={"dst_color_range": ColorRange.JPEG}),
)
print(f"expected: {colour} give or take 2, as without tags: {plain}")
print(f"seen:     tagged BT.709 {wrong[0]}, tagged full range {wrong[1]}")
print(f"seen:     converted by hand {right[0]} and {right[1]}")
if any(np.abs(found - colour).max() < 8 for found in wrong) or any(np.abs(found - colour).max() > 2 for found in right):
    sys.exit("The behaviour changed: the pixels now follow the tags.")
PYTHON
