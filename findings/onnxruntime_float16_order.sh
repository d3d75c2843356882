#!/usr/bin/env bash
# Guess:   the float16 tool that ships in ONNX Runtime writes valid ONNX.
# Really:  with `keep_io_types=True` it appends the Cast of the input at the END of the graph. ONNX demands that nodes
#          are sorted: onnx's own checker refuses the model. ONNX Runtime sorts by itself and runs it, so a test with it
#          finds nothing. (The tool that it was copied from, onnxconverter-common, puts the Cast first.)
# Matters: the fp16 model works where it was made and is refused by the next tool that checks.
# Seen:    onnxruntime 1.32.0, onnxconverter-common 1.16.0, onnx 1.23.2, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet onnxruntime==1.32.0 onnxconverter-common==1.16.0 onnx==1.23.2 numpy==2.4.6
ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import onnx
import onnxconverter_common.float16
import onnxruntime
import onnxruntime.transformers.float16

print(", ".join(f"{package} {version(package)}" for package in ("onnxruntime", "onnxconverter-common", "onnx")))


def verdict(tool) -> tuple[list[str], str]:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 18]>
        g (float[1,4] x) => (float[1,4] y) <float two = {2}> { a = Mul(x, two)
        y = Relu(a) }""")
    onnx.checker.check_model(model, full_check=True)
    made = tool.convert_float_to_float16(model, keep_io_types=True)
    onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": np.ones((1, 4), np.float32)})
    order = [node.op_type for node in made.graph.node]
    try:
        onnx.checker.check_model(made, full_check=True)
    except onnx.checker.ValidationError as error:
        return order, "refused: " + str(error).partition(",")[0]
    return order, "valid"


shipped, original = verdict(onnxruntime.transformers.float16), verdict(onnxconverter_common.float16)
print("expected: valid")
print(f"seen:     onnxruntime {shipped}\nseen:     onnxconverter-common {original}")
if not shipped[1].startswith("refused") or original[1] != "valid":
    sys.exit("The behaviour changed: the graph is sorted now, or onnxconverter-common's no longer is.")
PYTHON
