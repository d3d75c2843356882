#!/usr/bin/env bash
# Guess:   `polygraphy convert --fp16` with TensorRT-RTX builds an fp16 engine, or says that it can't: RTX knows
#          strongly typed networks only, where the ONNX file alone decides.
# Really:  --fp16, --bf16 and --int8 are taken without a word that they do nothing (--int8 even calibrates), the engine
#          has the fp32 weights, and the exit code is 0.
# Matters: the engine is half as large again and slower than the command promises, and nothing tells.
# Seen:    polygraphy 0.53.6, TensorRT-RTX 1.7.1.116, November 2026. No GPU is needed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet polygraphy==0.53.6 tensorrt-rtx-cu13==1.7.1.116 onnx==1.23.2 numpy==2.4.6
POLYGRAPHY_USE_TENSORRT_RTX=1 venv/bin/python - <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import polygraphy
import tensorrt_rtx

print(f"polygraphy {polygraphy.__version__}, TensorRT-RTX {tensorrt_rtx.__version__}")
weights = np.random.default_rng(0).normal(0, 0.05, (128, 128, 3, 3))


def model(name: str, dtype: str) -> str:
    """A convolution, in the file that is returned."""
    made = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 18]>
        g ({dtype}[1,128,32,32] x) => ({dtype}[1,128,32,32] y) {{ y = Conv <pads = [1, 1, 1, 1]> (x, kernel) }}""")
    numbers = weights.astype(np.float16 if dtype == "float16" else np.float32)
    made.graph.initializer.append(onnx.numpy_helper.from_array(numbers, "kernel"))
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, name)
    return name


def size(name: str, *flags: str) -> int:
    """The engine's bytes."""
    command = ["venv/bin/polygraphy", "convert", name, "--compute-capabilities", "8.6", "-o", "engine.plan", *flags]
    subprocess.run(command, check=True, capture_output=True)
    return Path("engine.plan").stat().st_size


single, half = model("single.onnx", "float"), model("half.onnx", "float16")
plain, fp16 = size(single), size(half)
flags = {flag: size(single, flag) for flag in ("--fp16", "--bf16", "--int8")}
print(f"expected: an error, or about the {fp16} bytes of a model that is fp16 itself")
print(f"seen:     {flags}, as with no flag: {plain}")
if any(abs(found - plain) > 1000 for found in flags.values()) or fp16 > 0.8 * plain:
    sys.exit("The behaviour changed: the flags change the engine.")
PYTHON
