#!/usr/bin/env bash
# Guess:   a builder that is told the smallest and the largest input refuses sizes at which the network cannot run.
# Really:  TensorRT-RTX builds an engine for inputs of 3x3 whose first layer is a pooling of 7x7 (an output of -3x-3),
#          without a warning; a profile that is turned round (minimum above maximum) it does refuse.
# Matters: the engine that promises small tiles fails at the first small tile, on the user's machine.
# Seen:    TensorRT-RTX 1.7.1.116, onnx 1.23.2, November 2026. No GPU is needed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet tensorrt-rtx-cu13==1.7.1.116 onnx==1.23.2
venv/bin/python - <<'PYTHON'
import sys

import onnx
import tensorrt_rtx

print(f"TensorRT-RTX {tensorrt_rtx.__version__}, onnx {onnx.__version__}")


class Log(tensorrt_rtx.ILogger):
    def __init__(self) -> None:
        super().__init__()
        self.complaints: list[str] = []

    def log(self, severity: tensorrt_rtx.ILogger.Severity, message: str) -> None:
        if (
            severity <= tensorrt_rtx.ILogger.Severity.WARNING and "cuda" not in message.lower()
        ):  # without a GPU it says so
            self.complaints.append(message)


model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 18]>
    g (float[1,3,h,w] x) => (float[1,3,H,W] y) { y = MaxPool <kernel_shape = [7, 7]> (x) }""")
onnx.checker.check_model(model, full_check=True)
log = Log()
builder = tensorrt_rtx.Builder(log)


def built(smallest: int, largest: int) -> bool:
    network = builder.create_network(0)
    if not tensorrt_rtx.OnnxParser(network, log).parse(model.SerializeToString()):
        sys.exit("The behaviour changed: the model is refused.")
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("x", *((1, 3, side, side) for side in (smallest, 64, largest)))
    config.num_compute_capabilities = 1
    config.set_compute_capability(tensorrt_rtx.ComputeCapability.SM86, 0)
    return (
        config.add_optimization_profile(profile) >= 0 and builder.build_serialized_network(network, config) is not None
    )


fits, too_small = built(7, 64), built(3, 64)
complaints = list(log.complaints)
turned_round = built(65, 64)
print("expected: True from 7 pixels on, False or a warning from 3 on")
print(
    f"seen:     from 7 pixels {fits}, from 3 pixels {too_small} with warnings {complaints}; turned round {turned_round}"
)
if not fits or not too_small or complaints or turned_round:
    sys.exit("The behaviour changed: the profile of 3 pixels is refused or warned of.")
PYTHON
