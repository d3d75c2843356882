#!/usr/bin/env bash
# Guess:   `torch.onnx.export` with dynamic height and width gives a model that computes what torch does at every size,
#          or the export fails: other sizes than the example's are what it was asked for.
# Really:  two reductions by 2 are right at sizes that 2 divides, as the example's usually are, and silently wrong at
#          the others. `interpolate(mode="area")` becomes an AveragePool of 2x2. `interpolate(antialias=True)` becomes a
#          Resize by sizes instead of scales, and stretches. `torch.export` itself is right; the step to ONNX isn't.
#          Without antialias all is right.
# Matters: LR made inside a model (training losses, two-scale networks, previews) is tens of levels off for every
#          picture of odd size.
# Seen:    torch 2.13.0, onnxscript 0.7.2, onnx 1.23.2, onnxruntime 1.32.0, November 2026. torch is a large download
#          where pip takes the build for GPUs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet torch==2.13.0 onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
ORT_DISABLE_TELEMETRY=1 venv/bin/python -W ignore - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import sys
from importlib.metadata import version

import numpy as np
import onnxruntime
import torch
from torch.nn.functional import interpolate

print(f"torch {torch.__version__}, onnxscript {version('onnxscript')}, ONNX Runtime {onnxruntime.__version__}")
generator = np.random.default_rng(0)


class Halved(torch.nn.Module):
    def __init__(self, mode: str, antialias: bool) -> None:
        super().__init__()
        self.mode, self.antialias = mode, antialias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return interpolate(x, scale_factor=0.5, mode=self.mode, antialias=self.antialias)


def levels(mode: str, antialias: bool) -> tuple[float, float]:
    """How far the exported model is from torch, in levels of 255, at the example's even size and at an odd one."""
    module, free = Halved(mode, antialias), torch.export.Dim.DYNAMIC
    example = (torch.zeros(1, 3, 16, 20),)
    exported = torch.export.export(module, example, dynamic_shapes=({2: free, 3: free},))
    torch.onnx.export(exported, (), dynamo=True, external_data=False, verbose=False).save("model.onnx")
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    found = []
    for height, width in ((16, 20), (17, 23)):
        x = generator.integers(0, 256, (1, 3, height, width)).astype(np.float32)
        right = module(torch.from_numpy(x))
        if not torch.equal(exported.module()(torch.from_numpy(x)), right):
            sys.exit("The behaviour changed: torch.export itself differs from torch.")
        found.append(float(np.abs(session.run(None, {"x": x})[0] - right.numpy()).max()))
    return found[0], found[1]


cases = {"area": ("area", False), "antialias": ("bicubic", True), "bicubic": ("bicubic", False)}
seen = {name: levels(*case) for name, case in cases.items()}
print("expected: below 0.01 levels at 16 x 20 and at 17 x 23")
for name, (even, odd) in seen.items():
    print(f"seen:     {name:10}{even:.4f} at 16 x 20, {odd:.4f} at 17 x 23")
if (
    max(seen["bicubic"] + (seen["area"][0], seen["antialias"][0])) > 0.01
    or min(seen["area"][1], seen["antialias"][1]) < 1
):
    sys.exit("The behaviour changed: odd sizes are right, or others no longer are.")
PYTHON
