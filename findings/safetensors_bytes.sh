#!/usr/bin/env bash
# Guess:   the same tensors with the same metadata make the same file: the format was made to be simple and safe to
#          compare.
# Really:  the metadata's keys are written in an order that is drawn anew at every save, even within one process.
# Matters: a checksum of a weights file says "changed" when nothing has; caches miss, and builds are not reproducible.
#          With no metadata, or one key, the bytes are the same.
# Seen:    safetensors 0.8.0, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import save

print(f"safetensors {safetensors.__version__}")
tensors = {"weights": np.zeros(3, np.float32)}
keys = {"name": "x", "scale": "4", "author": "y", "licence": "z", "colour": "rgb", "window": "8"}
several = len({save(tensors, metadata=keys) for _ in range(100)})
one = len({save(tensors, metadata={"name": "x"}) for _ in range(100)})
print("expected: 100 saves of the same content make 1 file")
print(f"seen:     {several} different files with six keys of metadata, {one} with one key")
if several < 2 or one != 1:
    sys.exit("The behaviour changed: the same content makes the same file.")
PYTHON
