"""Fuzzes the description in checkpoints: the header of safetensors, our metadata in it, and the checksum.

python tests/fuzz/fuzz_checkpoint.py tests/fuzz/corpus/checkpoint -max_total_time=60
"""

from pathlib import Path

import harness

with harness.watched():
    from gpsr_deploy.errors import ModelRefused
    from gpsr_deploy.model_files import checkpoint as checkpoint_file
    from gpsr_deploy.model_files.gate import CHECKSUM_BLANK, CHECKSUM_KEY, with_checksum

FOLDER = harness.folder()
PATH = Path(FOLDER.name, "x.safetensors")


def target(data: bytes) -> None:
    """Any bytes are a description whose numbers are those of its network, or one printable refusal.

    Where CHECKSUM_BLANK stands in them once, the checksum is made: no fuzzer guesses it.
    """
    if data.count(CHECKSUM_BLANK.encode()) == 1 and CHECKSUM_KEY.encode() in data:
        data = with_checksum(data)
    PATH.write_bytes(data)
    try:
        found = checkpoint_file.read_info(PATH)
    except ModelRefused as error:
        assert str(error).isprintable()
        return
    assert (found.config.width, found.config.blocks) == (found.width, found.blocks)
    assert found.name.isprintable()
    assert found.params >= 0
    assert isinstance(found.training, dict)


if __name__ == "__main__":
    harness.run(target)
