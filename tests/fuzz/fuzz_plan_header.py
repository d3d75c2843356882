"""Fuzzes the headers of plans, also of those that another exporter wrapped.

python tests/fuzz/fuzz_plan_header.py tests/fuzz/corpus/plan_header -max_total_time=60
"""

import re

import harness

with harness.watched():
    from gpsr_deploy.errors import ModelRefused
    from gpsr_deploy.model_files import engine as engine_file
    from gpsr_deploy.spec import ENGINE_RUNTIMES


def target(data: bytes) -> None:
    """Any bytes are a header that tells a runtime, a version and known GPUs, or one printable refusal."""
    try:
        found = engine_file.header(data)
    except ModelRefused as error:
        assert str(error).isprintable()
        return
    assert found.runtime in ENGINE_RUNTIMES
    assert re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", found.version)
    assert set(found.compute_capabilities) <= set(engine_file.CAPABILITY_BITS.values())


if __name__ == "__main__":
    harness.run(target)
