#!/usr/bin/env bash
# Guess:   a converter that cannot convert a layer ends with an error code.
# Really:  pnnx prints "ignore DepthToSpace ..." among other lines, writes a .param file with a layer that ncnn hasn't
#          got, and exits with 0. `load_param` then returns -1 (and raises nothing).
# Matters: DepthToSpace in its default mode (DCR) is the last layer of many super-resolution networks from TensorFlow; a
#          script that believes exit codes ships a model that cannot be loaded.
# Seen:    pnnx 20261020, ncnn 1.0.20261020, November 2026. Mode CRD (torch's pixel_shuffle) is converted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet ncnn==1.0.20261020 onnx==1.23.2
venv/bin/python -m pip install --quiet --no-deps pnnx==20261020 # its program needs no torch
venv/bin/python - <<'PYTHON'
import importlib.util
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import ncnn
import onnx

print(f"pnnx {version('pnnx')}, ncnn {ncnn.__version__}")
pnnx = Path(importlib.util.find_spec("pnnx").origin).parent / "pnnx"


def converted_and_loaded(mode: str) -> tuple[int, int]:
    """pnnx's exit code, and what ncnn returns for the file that it wrote."""
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 18]>
        g (float[1,12,16,16] x) => (float[1,3,32,32] y) {{ y = DepthToSpace <blocksize = 2, mode = "{mode}"> (x) }}""")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")
    exit_code = subprocess.run([pnnx, "model.onnx", "inputshape=[1,12,16,16]"], capture_output=True).returncode
    return exit_code, ncnn.Net().load_param("model.ncnn.param")


dcr, crd = converted_and_loaded("DCR"), converted_and_loaded("CRD")
print("expected: (0, 0) where it was converted, a non-zero exit code where it was not")
print(f"seen:     DCR {dcr}, CRD {crd}")
if dcr != (0, -1) or crd != (0, 0):
    sys.exit("The behaviour changed: DCR is converted, or the exit code tells that it is not.")
PYTHON
