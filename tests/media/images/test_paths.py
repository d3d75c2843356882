"""Paths of pictures: names are taken literally, and what cannot be opened is refused and never waited for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from picture_files import PHOTO, pil, stored
from picture_process import output_of, python

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media import images
from gpsr_deploy.media.images import Picture


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "device", "too long a name"])
@pytest.mark.parametrize("function", [images.probe, images.read])
def test_what_cannot_be_opened_is_refused_and_never_waited_for(tmp_path: Path, kind: str, function: object) -> None:
    path = tmp_path / ("x" * 300 if kind == "too long a name" else "photo.png")
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    with pytest.raises(InputUnreadable) as caught:
        function(path)
    assert caught.value.path == path


UNPRIVILEGED = ("setpriv", *(f"--{name}=-dac_override,-dac_read_search" for name in ("bounding-set", "inh-caps")))


@pytest.mark.skipif(
    os.getuid() == 0 and not shutil.which("setpriv"), reason="root passes every permission, and setpriv is missing"
)
def test_permissions_are_met_with_exit_codes(tmp_path: Path) -> None:
    path = stored(tmp_path, pil(PHOTO, "PNG"))
    path.chmod(0)
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    code = """
source, folder = map(Path, sys.argv[1:])
picture = images.Picture(pixels=np.zeros((9, 9), np.uint8))
size = dict(height=9, width=9, has_alpha=False, depth=8, overwrite=False)
for call in (lambda: images.probe(source), lambda: images.read(source), lambda: atomic.clean_stale(folder),
             lambda: images.check_output(folder / "x.png", **size), lambda: images.write(folder / "x.png", picture)):
    try: print(call())
    except images.GpsrError as error: print(error.exit_code, "ermission" in str(error))
""".replace("images.GpsrError", "__import__('gpsr_deploy.errors').errors.GpsrError")
    process = python(code, path, folder, wrapper=UNPRIVILEGED if os.getuid() == 0 else ())
    assert output_of(process).splitlines() == ["3 True", "3 True", "()", "4 True", "4 True"]


ODD_NAMES = [
    "two words.png",
    "'single' \"double\".png",
    "$(touch owned) `id` ; rm x.png",
    "new\nline.png",
    "-rf.png",
    "--.png",
    "\N{GRINNING FACE}.png",
    "[Q=1,strip].png",
    "x.png[compression=9].png",
    "%d %s.png",
    "*?.png",
    "back\\slash.png",
    os.fsdecode(b"\xff\xfe not utf-8.png"),
    "\N{GRINNING FACE}" * 62 + "xxx.png",
]


@pytest.mark.parametrize("name", [*ODD_NAMES, "x.png[page=1]", "-"], ids=ascii)
def test_names_to_read_are_taken_literally(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, pil(PHOTO, "PNG"), name)
    monkeypatch.chdir(tmp_path)  # a relative name, so that a dash leads
    assert images.probe(Path(name)).format == "png"
    assert np.array_equal(images.read(Path(name)).pixels, PHOTO)


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_names_to_write_are_taken_literally(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    assert images.check_output(path, height=61, width=83, has_alpha=False, depth=8, overwrite=False) == ()
    images.write(Path(name), Picture(pixels=PHOTO))
    assert os.listdir(tmp_path) == [name]
    assert np.array_equal(images.read(tmp_path / name).pixels, PHOTO)
