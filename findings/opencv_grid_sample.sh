#!/usr/bin/env bash
# Guess:   GridSample with mode "cubic", as opset 20 calls what opset 16 called "bicubic", interpolates with a cubic.
# Really:  OpenCV's dnn loads the model and interpolates bilinearly, without a word.
# Matters: film networks warp the neighbouring frames by GridSample; OpenCV's answers are blurred and look healthy.
# Seen:    OpenCV 5.0.0 (opencv-python-headless 5.0.0.93), ONNX Runtime 1.32.0, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet opencv-python-headless==5.0.0.93 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
import onnxruntime

print(f"OpenCV {cv2.__version__}, ONNX Runtime {onnxruntime.__version__}")
generator = np.random.default_rng(0)
picture = generator.random((1, 1, 16, 16), dtype=np.float32)
grid = generator.uniform(-0.7, 0.7, (1, 8, 8, 2)).astype(np.float32)


def model(mode: str) -> bytes:
    made = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[1,1,16,16] x, float[1,8,8,2] grid) => (float[1,1,8,8] y)
        {{ y = GridSample <mode = "{mode}"> (x, grid) }}""")
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def by_onnxruntime(mode: str) -> np.ndarray:
    session = onnxruntime.InferenceSession(model(mode), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": picture, "grid": grid})[0]


def by_opencv(mode: str) -> np.ndarray:
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model(mode), np.uint8))
    net.setInput(picture, "x")
    net.setInput(grid, "grid")
    return net.forward()


to_cubic = float(np.abs(by_opencv("cubic") - by_onnxruntime("cubic")).max())
to_linear = float(np.abs(by_opencv("cubic") - by_onnxruntime("linear")).max())
print("expected: OpenCV's cubic is ONNX Runtime's cubic: a difference below 0.001")
print(f"seen:     {to_cubic:.3f} from ONNX Runtime's cubic, {to_linear:.7f} from its linear")
if to_cubic < 0.01 or to_linear > 1e-4:
    sys.exit("The behaviour changed: OpenCV's cubic is no longer bilinear.")
PYTHON
