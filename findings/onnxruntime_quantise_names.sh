#!/usr/bin/env bash
# Guess:   `quantize_static(..., nodes_to_exclude=["tial"])` fails: the model has no such node.
# Really:  the name is ignored, and the node that should stay in floating point is quantised. An operator's name
#          misspelt in `op_types_to_quantize` leaves the whole model in floating point. Both end well. (NNCF raises for
#          both.)
# Matters: the first and the last layers of a super-resolution network must stay in floating point, or the picture loses
#          decibels; a layer renamed by an export undoes the exclusion in silence.
# Seen:    onnxruntime 1.32.0, onnx 1.23.2, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 sympy==1.14.0
ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PYTHON'
import logging
import sys

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, quantize_static

logging.disable(logging.WARNING)
onnxruntime.set_default_logger_severity(3)
print(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
generator = np.random.default_rng(0)
kernel = onnx.numpy_helper.from_array(generator.normal(0, 0.2, (3, 3, 3, 3)).astype(np.float32), "kernel")
model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 18]>
    g (float[1,3,16,16] x) => (float[1,3,16,16] y) {
    [head] a = Conv <pads = [1, 1, 1, 1]> (x, kernel)
    [tail] y = Conv <pads = [1, 1, 1, 1]> (a, kernel) }""")
model.graph.initializer.append(kernel)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "model.onnx")


class Pictures(CalibrationDataReader):
    def __init__(self) -> None:
        self.pictures = iter([{"x": generator.random((1, 3, 16, 16), dtype=np.float32)} for _ in range(2)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.pictures, None)


def quantisers(**options: list[str]) -> int:
    """How many QuantizeLinear nodes the quantised model has."""
    quantize_static("model.onnx", "quantised.onnx", Pictures(), **options)
    return sum(node.op_type == "QuantizeLinear" for node in onnx.load("quantised.onnx").graph.node)


everything, without_tail = quantisers(), quantisers(nodes_to_exclude=["tail"])
misspelt, operator = quantisers(nodes_to_exclude=["tial"]), quantisers(op_types_to_quantize=["conv"])
print(f"expected: an error for 'tial' and for 'conv', or what 'tail' gives: {without_tail} QuantizeLinear")
print(f"seen:     'tial' {misspelt}, as with no exclusion: {everything}; 'conv' {operator}")
if misspelt != everything or without_tail == everything or operator != 0:
    sys.exit("The behaviour changed: a name that the model hasn't got is no longer ignored.")
PYTHON
