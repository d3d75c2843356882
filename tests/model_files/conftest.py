"""An engine made by hand."""

import plans
import pytest


@pytest.fixture
def engine(tmp_path):
    """An engine for GPUS, made by hand."""
    return plans.write(tmp_path)
