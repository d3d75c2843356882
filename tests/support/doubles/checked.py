"""Whether a GPU ends as clean as it began."""

import contextlib
import gc


@contextlib.contextmanager
def checked(gpu):
    """Whatever happens inside, nothing forbidden does, and nothing is left at the end."""
    yield gpu
    if gpu.leftovers():  # an error's traceback may hold a context a little longer
        gc.collect()
    assert gpu.faults == []
    assert gpu.leftovers() == {}
