#!/usr/bin/env bash
# Guess:   an fp16 model computes in fp16: 1000 * 1000 overflows (fp16 ends at 65504), and a try on the CPU shows it.
# Really:  ONNX Runtime's CPU runs fp16 operators in fp32 and drops the casts in between, even with every optimisation
#          disabled. The output is the exact number, in fp16 clothes.
# Matters: an fp16 network that overflows inside passes every check on a CPU and is inf or NaN on the GPU.
# Seen:    ONNX Runtime 1.32.0, onnx 1.23.2 (whose reference implementation gives inf), November 2026.
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
from onnx.reference import ReferenceEvaluator

print(f"ONNX Runtime {onnxruntime.__version__}, onnx {onnx.__version__}")
model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 18]>
    g (float16[1] x) => (float16[1] y)
    <float16 thousand = {25552}> # an fp16 is written by its bits
    { a = Mul(x, thousand)
      b = Mul(a, thousand)
      y = Div(b, thousand) }""")
onnx.checker.check_model(model, full_check=True)
one = {"x": np.ones(1, np.float16)}
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
seen = session.run(None, one)[0]
with np.errstate(over="ignore"):
    reference = ReferenceEvaluator(model).run(None, one)[0]
print(f"expected: 1 * 1000 * 1000 / 1000 in fp16 is inf, as by onnx's reference: {reference[0]}")
print(f"seen:     {seen[0]} ({seen.dtype})")
if not np.isfinite(seen[0]) or not np.isinf(reference[0]):
    sys.exit("The behaviour changed: the overflow is seen on the CPU.")
PYTHON
