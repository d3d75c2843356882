"""What holds in every test of pictures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever happens, the library says nothing on stdout or stderr."""
    yield
    assert capfd.readouterr() == ("", "")
