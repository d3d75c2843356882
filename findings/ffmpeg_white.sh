#!/usr/bin/env bash
# Guess:   white stays white when FFmpeg's libswscale changes the depth of RGB or grey: 255 of 8 bits is 1023 of 10
#          bits, 65535 of 16 bits, 1.0 in floating point; and 16 bits made of 257 * v come back as v.
# Really:  grey of 10 and 16 bits is scaled like that; RGB of more than 8 bits is 8 bits SHIFTED, so that white is 1020,
#          65283 or 0.996; and floating-point grey takes the limited range of films: black 0.0625, white 0.918. Going
#          back from full 16 bits, nearly half of the 256 greys are one level too bright.
# Matters: a network that is fed or read through these formats sees a darker film than one that is fed by 8 bits, and
#          "lossless" 16-bit intermediates are not.
# Seen:    FFmpeg 8.1.2 (in PyAV 18.1.0), November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import av
import numpy as np

print(f"PyAV {av.__version__}, libswscale {'.'.join(map(str, av.library_versions['libswscale']))}")
white = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 255, np.uint8), format="rgb24")


def converted(name: str, dtype: type) -> float:
    return float(np.frombuffer(white.reformat(format=name).planes[0], dtype)[0])


full = {
    "gray": 255,
    "gray10le": 1023,
    "gray16le": 65535,
    "grayf32le": 1,
    "gbrp10le": 1023,
    "rgb48le": 65535,
    "gbrpf32le": 1,
}
types = {name: np.float32 if "f32" in name else np.uint8 if name == "gray" else np.uint16 for name in full}
seen = {name: converted(name, types[name]) for name in full}
print("expected:", ", ".join(f"{name} {value}" for name, value in full.items()))
print("seen:    ", ", ".join(f"{name} {value:.5g}" for name, value in seen.items()))

levels = np.arange(256)
ramp = np.tile((levels * 257).astype(np.uint16)[None, :, None], (4, 1, 3))
back = av.VideoFrame.from_ndarray(ramp, format="rgb48le").to_ndarray(format="rgb24")[0, :, 0]
brighter = int(np.count_nonzero(back == levels + 1))
print(f"expected: 257 * v in 16 bits is v in 8 bits\nseen:     {brighter} of 256 greys are v + 1")
shares = {name: seen[name] / full[name] for name in full}
shifted = all(0.9955 < shares[name] < 0.9975 for name in ("gbrp10le", "rgb48le", "gbrpf32le"))
scaled = all(shares[name] == 1 for name in ("gray", "gray10le", "gray16le"))
if not shifted or not scaled or not 0.91 < shares["grayf32le"] < 0.925 or brighter < 100:
    sys.exit("The behaviour changed: white is no longer 0.996 in deep RGB, 0.918 in float grey and 1 in deep grey.")
PYTHON
