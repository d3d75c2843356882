#!/usr/bin/env bash
# Guess:   importing an inference library reads files and writes none.
# Really:  `import onnxruntime` makes a device id and a data base of events below ~/.cache/Microsoft, `import openvino`
#          a client id and statistics below ~/intel: telemetry, on by default. ORT_DISABLE_TELEMETRY=1 prevents the
#          first, CI=true the second.
# Matters: enlarging a picture leaves an identity in the user's home, and reports; a read-only or shared home is
#          surprised.
# Seen:    onnxruntime 1.32.0, OpenVINO 2026.4.1 on Linux, November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

print(f"onnxruntime {version('onnxruntime')}, OpenVINO {version('openvino')}")


def written(module: str, **settings: str) -> list[str]:
    """The files that lie in a fresh home after importing `module`."""
    home = Path(f"home-{module}-{'-'.join(settings)}").absolute()
    home.mkdir()
    kept = {"PATH": os.environ["PATH"], "HOME": str(home)}
    # a proxy that leads nowhere, so that nothing is reported from here
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    subprocess.run([sys.executable, "-c", f"import {module}"], env=kept | nowhere | settings, check=True)
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


onnxruntime, quiet_onnxruntime = written("onnxruntime"), written("onnxruntime", ORT_DISABLE_TELEMETRY="1")
openvino, quiet_openvino = written("openvino"), written("openvino", CI="true")
print("expected: []")
print(f"seen:     import onnxruntime {onnxruntime}, with ORT_DISABLE_TELEMETRY=1 {quiet_onnxruntime}")
print(f"seen:     import openvino {openvino}, with CI=true {quiet_openvino}")
if not onnxruntime or not openvino or quiet_onnxruntime or quiet_openvino:
    sys.exit("The behaviour changed: an import leaves no files, or the two settings no longer prevent them.")
PYTHON
