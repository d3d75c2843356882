#!/usr/bin/env bash
# Guess:   NaN survives a clip: a network whose numbers broke gives NaN, and a look at the output finds it. numpy, torch
#          and the reference of ONNX do so, and ONNX Runtime's CPU kernels of Clip and Relu too.
# Really:  OpenVINO on the CPU makes it 0 in Clip and Relu, at full precision. OpenCV's dnn makes it 0 in Clip where its
#          vector code runs, and leaves it in the last few elements: it depends on the place.
# Matters: a Relu or a closing Clip(0, 1) turns a broken network into black pixels that pass every check for NaN.
# Seen:    OpenVINO 2026.4.1, OpenCV 5.0.0, ONNX Runtime 1.32.0 on x86-64, November 2026.
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
values = np.full((1, 1, 1, 17), np.nan, np.float32)


def counts(line: str, constants: str = "") -> dict[str, int]:
    """How many of 17 NaN are NaN after the operation, by runtime."""
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 18]>
        g (float[1,1,1,17] x) => (float[1,1,1,17] y) {constants} {{ {line} }}""")
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    ort = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": values})[0]
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    net.setInput(values)
    outputs = {"ONNX Runtime": ort, "OpenVINO": compiled(values)[0], "OpenCV": net.forward()}
    return {name: int(np.isnan(output).sum()) for name, output in outputs.items()}


clip, relu = counts("y = Clip(x, low, high)", "<float low = {0}, float high = {1}>"), counts("y = Relu(x)")
print("expected: 17 of 17 NaN stay NaN")
print(f"seen:     Clip {clip}\nseen:     Relu {relu}")
if (
    clip["OpenVINO"]
    or relu["OpenVINO"]
    or clip["OpenCV"] == 17
    or clip["ONNX Runtime"] != 17
    or relu["ONNX Runtime"] != 17
):
    sys.exit("The behaviour changed: OpenVINO or OpenCV keeps NaN now, or ONNX Runtime no longer does.")
PYTHON
