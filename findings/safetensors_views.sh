#!/usr/bin/env bash
# Guess:   `safetensors.numpy.save` writes the values of the array it is given, or refuses it: a transposed array is an
#          array.
# Really:  it writes the bytes that lie in memory under the array's shape, without a look at its strides. A transposed
#          array, a crop or a picture turned from HWC to CHW comes back with its values in other places.
#          (`safetensors.torch` refuses such tensors.)
# Matters: converting weights between layouts is one transpose; the file loads everywhere, has the right shapes, and the
#          network gives noise.
# Seen:    safetensors 0.8.0, November 2026. `np.ascontiguousarray` before the save mends it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet safetensors==0.8.0 numpy==2.4.6
venv/bin/python -W error - <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save

print(f"safetensors {safetensors.__version__}, numpy {np.__version__}")
weights = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def survives(array: np.ndarray) -> bool:
    return bool(np.array_equal(load(save({"weights": array}))["weights"], array))


turned = weights.transpose(2, 0, 1)
seen = survives(weights), survives(turned), survives(np.ascontiguousarray(turned))
print("expected: True, True, True (or an error for the second)")
print(f"seen:     as it is {seen[0]}, transposed {seen[1]}, transposed and made contiguous {seen[2]}")
if seen != (True, False, True):
    sys.exit("The behaviour changed: a transposed array survives now, or is refused.")
PYTHON
