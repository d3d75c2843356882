"""Engine files that were edited, and how reading them is refused."""

import json

import pytest

from gpsr_deploy.errors import GpsrError
from gpsr_deploy.model_files import engine as engine_file


def edit(path, **changes):
    """Another value for keys of a sidecar; `sr__scale=8` changes an inner one."""
    sidecar = engine_file.sidecar_path(path)
    found = json.loads(sidecar.read_text())
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = found
        for parent in parents:
            place = place[parent]
        place[last] = value
    sidecar.write_text(json.dumps(found))


def refusal(path, *, code=5, words="."):
    """The error of reading the engine at `path`: one printable line about it, or about its sidecar."""
    with pytest.raises(GpsrError, match=words) as caught:
        engine_file.read(path)
    assert caught.value.exit_code == code
    assert str(caught.value).isprintable()
    assert caught.value.path in (path, engine_file.sidecar_path(path))
    return caught.value
