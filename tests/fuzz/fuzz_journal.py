"""Fuzzes the journal that an interrupted run over several pictures leaves.

python tests/fuzz/fuzz_journal.py tests/fuzz/corpus/journal -max_total_time=60
"""

from pathlib import Path

import harness

with harness.watched():
    from gpsr_deploy.errors import UsageError
    from gpsr_deploy.pictures.jobs import Job
    from gpsr_deploy.pictures.journal import NAME, Journal

FOLDER = harness.folder()
OUT = Path(FOLDER.name)
RECIPE = {"model": "a", "tile": "0x0"}
JOB = Job(source=OUT / "none.png", target=OUT / "a.png")


def target(data: bytes) -> None:
    """Any bytes are a journal that goes on, or none, or one of another recipe; of a missing output none says that it is finished."""
    (OUT / NAME).write_bytes(data)
    try:
        with Journal(OUT, RECIPE, resume=True) as journal:
            assert not journal.finished(JOB)
            assert journal.ours(JOB) in (True, False)
            assert (OUT / NAME).read_bytes() == data
    except UsageError as error:
        assert str(error).isprintable()


if __name__ == "__main__":
    harness.run(target)
