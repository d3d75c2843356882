#!/usr/bin/env bash
# Guess:   a runtime computes what the attributes of ONNX's Resize say, or refuses the model.
# Really:  OpenVINO ignores `antialias` and `exclude_outside`; OpenCV's dnn ignores `antialias`, the coordinates
#          "half_pixel_symmetric", and a scale that gives no whole size (1.7 times 16 pixels: it takes 27 / 16 instead).
#          No error, no warning, another picture. ONNX Runtime and onnx's reference compute them all; OpenVINO refuses
#          the coordinates.
# Matters: torch exports `interpolate(..., antialias=True)` with `antialias` and `exclude_outside`. A model that reduces
#          inside (a downscaling network, a loss, a two-scale network) aliases, tens of levels away, in two of three
#          runtimes.
# Seen:    OpenVINO 2026.4.1, OpenCV 5.0.0, ONNX Runtime 1.32.0, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet \
    openvino==2026.4.1 opencv-python-headless==5.0.0.93 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
CI=true ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino

print(f"OpenVINO {openvino.__version__}, OpenCV {cv2.__version__}, ONNX Runtime {onnxruntime.__version__}")
picture = np.random.default_rng(0).integers(0, 256, (1, 3, 16, 20)).astype(np.float32)


def levels(attributes: str, scale: float) -> dict[str, float | None]:
    """How far each runtime is from ONNX Runtime, in levels of 255; None where it refuses the model."""
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 18]>
        g (float[1,3,h,w] x) => (float[1,3,H,W] y) <float[4] scales = {{1, 1, {scale}, {scale}}}>
        {{ y = Resize <mode = "cubic" {attributes}> (x, , scales) }}""")
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    exact = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": picture})[0]
    core = openvino.Core()
    net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    net.setInput(picture)
    found: dict[str, float | None] = {"OpenCV": float(np.abs(net.forward() - exact).max()), "OpenVINO": None}
    try:
        compiled = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError:
        return found
    return found | {"OpenVINO": float(np.abs(compiled(picture)[0] - exact).max())}


antialias, outside = levels(", antialias = 1", 0.5), levels(", exclude_outside = 1", 2)
symmetric = levels(', coordinate_transformation_mode = "half_pixel_symmetric"', 2)
fraction = levels("", 1.7)
print("expected: less than 0.01 levels from ONNX Runtime, or None for a refusal")
print(f"seen:     antialias {antialias}\nseen:     exclude_outside {outside}")
print(f"seen:     half_pixel_symmetric {symmetric}\nseen:     scale 1.7 {fraction}")
ignored = (antialias["OpenVINO"], antialias["OpenCV"], outside["OpenVINO"], symmetric["OpenCV"], fraction["OpenCV"])
if any(value is None or value < 1 for value in ignored):
    sys.exit("The behaviour changed: one of the five is no longer ignored.")
PYTHON
