"""A random network, which several files of tests look at."""

import pytest
from networks import random_network


@pytest.fixture(scope="session")
def wild():
    """A random `nano` x4. Not to be changed."""
    return random_network("nano", 4)
