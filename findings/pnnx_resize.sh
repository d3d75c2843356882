#!/usr/bin/env bash
# Guess:   pnnx converts ONNX's Resize with its attributes, or says what it leaves out (as it does for a slice with a
#          step).
# Really:  `cubic_coeff_a`, `antialias`, `exclude_outside` and the coordinates "asymmetric" vanish without a line:
#          ncnn's bicubic always has a = -0.75, half-pixel coordinates and no antialiasing.
# Matters: a network whose skip connection is the papers' bicubic (a = -0.5, MATLAB's and Pillow's) is converted with
#          exit code 0 and is tens of levels off at edges.
# Seen:    pnnx 20261020, ncnn 1.0.20261020, ONNX Runtime 1.32.0, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet ncnn==1.0.20261020 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
venv/bin/python -m pip install --quiet --no-deps pnnx==20261020 # its program needs no torch
ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PYTHON'
import importlib.util
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import ncnn
import numpy as np
import onnx
import onnxruntime

print(f"pnnx {version('pnnx')}, ncnn {ncnn.__version__}, ONNX Runtime {onnxruntime.__version__}")
pnnx = Path(importlib.util.find_spec("pnnx").origin).parent / "pnnx"
picture = np.random.default_rng(0).integers(0, 256, (1, 3, 16, 16)).astype(np.float32)
planes = np.ascontiguousarray(picture[0])


def levels(attributes: str, scale: float) -> tuple[float, bool]:
    """How far ncnn is from ONNX Runtime after the conversion, in levels of 255; whether pnnx named an attribute."""
    size = int(16 * scale)
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 18]>
        g (float[1,3,16,16] x) => (float[1,3,{size},{size}] y) <float[4] scales = {{1, 1, {scale}, {scale}}}>
        {{ y = Resize <mode = "cubic" {attributes}> (x, , scales) }}""")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")
    said = subprocess.run([pnnx, "model.onnx", "inputshape=[1,3,16,16]"], capture_output=True, text=True, check=True)
    exact = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": picture})[0]
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = False
    if net.load_param("model.ncnn.param") or net.load_model("model.ncnn.bin"):
        sys.exit("The behaviour changed: ncnn cannot load what pnnx wrote.")
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(planes))
    output = np.array(extractor.extract("out0")[1])
    named = any(
        name in said.stdout + said.stderr for name in ("cubic_coeff", "antialias", "exclude_outside", "coordinate")
    )
    return float(np.abs(output - exact[0]).max()), named


cases = {
    "no attribute": levels("", 2),
    "a = -0.5": levels(", cubic_coeff_a = -0.5", 2),
    "antialias": levels(", antialias = 1", 0.5),
    "exclude_outside": levels(", exclude_outside = 1", 2),
    "asymmetric": levels(', coordinate_transformation_mode = "asymmetric"', 2),
}
print("expected: below 0.01 levels, or a line that names the attribute")
for name, (distance, named) in cases.items():
    print(f"seen:     {name}: {distance:.4f} levels, {'named' if named else 'no word'}")
plain, *others = cases.values()
if plain[0] > 0.01 or any(distance < 1 or named for distance, named in others):
    sys.exit("The behaviour changed: one of the attributes is converted or named.")
PYTHON
