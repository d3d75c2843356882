"""Fuzzes the spec and the costs in a model's metadata.

python tests/fuzz/fuzz_spec.py tests/fuzz/corpus/spec -max_total_time=60
"""

import dataclasses
import json

import harness

with harness.watched():
    from gpsr_deploy.errors import ModelRefused
    from gpsr_deploy.spec import Costs, SRSpec


def target(data: bytes) -> None:
    """Any text is a spec, or costs, that survive the way to JSON and back, or one printable refusal."""
    text = data.decode("utf-8", "surrogateescape")
    for kind in (SRSpec, Costs):
        try:
            found = kind.from_json(text)
        except ModelRefused as error:
            assert str(error).isprintable()
        else:
            assert kind.from_json(json.dumps(dataclasses.asdict(found), allow_nan=False)) == found


if __name__ == "__main__":
    harness.run(target, mutator=harness.mutated_json)
