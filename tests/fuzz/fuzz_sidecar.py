"""Fuzzes the sidecars of engines, and the command that a refusal takes from them for a shell.

python tests/fuzz/fuzz_sidecar.py tests/fuzz/corpus/sidecar -max_total_time=60
"""

import dataclasses
import json
import re
import shlex

import harness

with harness.watched():
    from gpsr_deploy.errors import ModelRefused
    from gpsr_deploy.model_files import engine as engine_file
    from gpsr_deploy.spec import EngineSpec

PLAIN = re.compile(r"[A-Za-z0-9_.,=/ -]*")


def target(data: bytes) -> None:
    """Any bytes are a spec that survives the way to JSON and back and can be shown and pasted, or one printable refusal."""
    try:
        spec = EngineSpec.from_json(data.decode("utf-8"))
    except UnicodeDecodeError:
        return
    except ModelRefused as error:
        assert str(error).isprintable()
        return
    assert EngineSpec.from_json(spec.to_json()) == spec
    json.dumps(dataclasses.asdict(spec), allow_nan=False)
    for gpu in (None, "8.9", "9.0"):
        command = engine_file.rebuild(spec, gpu=gpu)
        assert PLAIN.fullmatch(command), command
        assert shlex.split(command)[:2] == ["gpsr-trt", "build"]


if __name__ == "__main__":
    harness.run(target, mutator=harness.mutated_json)
