#!/usr/bin/env bash
# Guess:   a model that ONNX's checker passes and that ONNX Runtime loads can be run; what a kernel lacks is said at
#          loading.
# Really:  a cubic Resize of uint8 pixels (which ONNX allows) loads and fails at its first run with "Tensor type
#          mismatch". With `antialias = 1` the same enlargement runs, and linear runs too.
# Matters: a bicubic path on uint8 pixels is found broken only when the first picture arrives.
# Seen:    onnxruntime 1.32.0 (CPU), onnx 1.23.2, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime

onnxruntime.set_default_logger_severity(4)
print(f"ONNX Runtime {onnxruntime.__version__}, onnx {onnx.__version__}")
pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8), dtype=np.uint8)


def outcome(attributes: str) -> str:
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 18]>
        g (uint8[1,3,8,8] x) => (uint8[1,3,16,16] y) <float[4] scales = {{1, 1, 2, 2}}>
        {{ y = Resize <{attributes}> (x, , scales) }}""")
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    try:
        session.run(None, {"x": pixels})
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
        return "fails at the run" if "type mismatch" in str(error) else str(error)
    return "runs"


seen = [outcome(a) for a in ('mode = "linear"', 'mode = "cubic"', 'mode = "cubic", antialias = 1')]
print("expected: each runs, or is refused at loading")
print(f"seen:     linear {seen[0]}, cubic {seen[1]}, cubic with antialias {seen[2]}")
if seen != ["runs", "fails at the run", "runs"]:
    sys.exit("The behaviour changed: a cubic Resize of uint8 runs, or is refused at loading.")
PYTHON
