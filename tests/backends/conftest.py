"""The GPU on which the tests of CUDA and TensorRT run: a double."""

import doubles
import pytest
from doubles import Gpu


@pytest.fixture
def gpu():
    """A GPU on which nothing forbidden happens and nothing is left."""
    made = Gpu()
    with doubles.checked(made):
        yield made
