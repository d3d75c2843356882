#!/usr/bin/env bash
# Guess:   an inference that fails raises, on one thread as on many.
# Really:  with INFERENCE_NUM_THREADS=1, `infer()` (and calling the compiled model) swallows the failure and returns the
#          output of the inference before. With 2 threads it raises. `start_async()` and `wait()` raise with any number.
# Matters: in a film, a frame that could not be computed is the frame before it once more; in tiles, a patch of another
#          place. One thread is what a server or a container with one core asks for.
# Seen:    OpenVINO 2026.4.1 on x86-64, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet openvino==2026.4.1 numpy==2.4.6
CI=true venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import openvino
from openvino import opset13

print(f"OpenVINO {openvino.__version__}")
pixels = opset13.parameter([1, 1, -1, -1], np.float32)
rows_of_four = opset13.reshape(pixels, np.array([-1, 4], np.int64), special_zero=False)  # 5 x 5 pixels don't fit
model = openvino.Model([rows_of_four], [pixels], "rows of four")
core = openvino.Core()


def second_of_two(threads: int) -> str:
    """What an inference that must fail gives, after one that went well on fours."""
    compiled = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    request.infer([np.full((1, 1, 4, 4), 4, np.float32)])
    try:
        output = request.infer([np.full((1, 1, 5, 5), 5, np.float32)])[0]
    except RuntimeError:
        return "RuntimeError"
    return f"{output.shape} of {output.mean():.0f}"


one, two = second_of_two(1), second_of_two(2)
print("expected: RuntimeError: 5 x 5 pixels cannot be rows of four")
print(f"seen:     with one thread {one}, with two {two}")
if (one, two) != ("(4, 4) of 4", "RuntimeError"):
    sys.exit("The behaviour changed: with one thread a failure is no longer swallowed.")
PYTHON
