#!/usr/bin/env bash
# Guess:   `onnx.version_converter` changes how a model is written, not what it computes.
# Really:  a linear Upsample (opset 9) or Resize (opset 10) becomes a Resize with the newer default coordinates,
#          half_pixel; before opset 11 they were asymmetric, which the converter should write out. The picture moves by
#          half an output pixel.
# Matters: old super-resolution models are lifted to a newer opset for TensorRT or OpenVINO; the skip connection and the
#          learned part then no longer lie on each other.
# Seen:    onnx 1.23.2, onnxruntime 1.32.0, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import version_converter

print(f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}")
ramp = np.tile(np.arange(8, dtype=np.float32), (1, 1, 8, 1))


def row(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": ramp})[0][0, 0, 8, 4:10]


differences = []
print("expected: the same row before and after")
for operator, opset in (("Upsample", 9), ("Resize", 10)):
    old = onnx.parser.parse_model(f"""<ir_version: 7, opset_import: ["" : {opset}]>
        g (float[1,1,8,8] x) => (float[1,1,16,16] y) <float[4] scales = {{1, 1, 2, 2}}>
        {{ y = {operator} <mode = "linear"> (x, scales) }}""")
    onnx.checker.check_model(old, full_check=True)
    new = version_converter.convert_version(old, 18)
    onnx.checker.check_model(new, full_check=True)
    differences.append(float(np.abs(row(new) - row(old)).max()))
    print(f"seen:     {operator} {opset}: {row(old)} -> {row(new)}")
if min(differences) < 0.2:
    sys.exit("The behaviour changed: the coordinates are kept.")
PYTHON
