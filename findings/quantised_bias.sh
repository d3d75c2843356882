#!/usr/bin/env bash
# Guess:   a symmetric int8 model that ONNX Runtime's `quantize_static` writes in its default form (QDQ) runs in any
#          runtime that takes quantised ONNX.
# Really:  it keeps biases as int32 behind a DequantizeLinear. ONNX allows that; TensorRT-RTX refuses the whole model at
#          parsing. With `extra_options={"QuantizeBias": False}` the same model is parsed.
# Matters: calibrating on a CPU and deploying on a GPU is the usual way, and the option is hardly to be found.
# Seen:    TensorRT-RTX 1.7.1.116, onnxruntime 1.32.0, onnx 1.23.2, November 2026. No GPU is needed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet \
    tensorrt-rtx-cu13==1.7.1.116 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 sympy==1.14.0
ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PYTHON'
import logging
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tensorrt_rtx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

logging.disable(logging.WARNING)
print(f"TensorRT-RTX {tensorrt_rtx.__version__}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
generator = np.random.default_rng(0)
model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 18]>
    g (float[1,3,16,16] x) => (float[1,3,16,16] y) { y = Conv <pads = [1, 1, 1, 1]> (x, kernel, bias) }""")
for name, shape in (("kernel", (3, 3, 3, 3)), ("bias", (3,))):
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(generator.normal(0, 0.2, shape).astype(np.float32), name)
    )
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "model.onnx")


class Pictures(CalibrationDataReader):
    def __init__(self) -> None:
        self.pictures = iter([{"x": generator.random((1, 3, 16, 16), dtype=np.float32)} for _ in range(2)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.pictures, None)


def parsed(options: dict[str, bool]) -> tuple[bool, str]:
    """Whether TensorRT-RTX parses the quantised model, and its first error."""
    quantize_static(
        "model.onnx",
        "quantised.onnx",
        Pictures(),
        activation_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, **options},
    )
    onnx.checker.check_model("quantised.onnx", full_check=True)
    logger = tensorrt_rtx.Logger(tensorrt_rtx.Logger.INTERNAL_ERROR)
    network = tensorrt_rtx.Builder(logger).create_network(0)
    parser = tensorrt_rtx.OnnxParser(network, logger)
    took = parser.parse(Path("quantised.onnx").read_bytes())
    return took, "" if took else parser.get_error(0).desc().partition(" In checkType")[0].replace("\n", " ")


plain, mended = parsed({}), parsed({"QuantizeBias": False})
print("expected: parsed")
print(f"seen:     {plain[0]}: {plain[1]}\nseen:     with QuantizeBias off: {mended[0]} {mended[1]}")
if plain[0] or not mended[0]:
    sys.exit("The behaviour changed: TensorRT-RTX parses int32 biases, or refuses the model without them.")
PYTHON
