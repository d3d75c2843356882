"""What is no picture of ours, or claims to be more than there can be: refused at once."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from picture_files import ANIMATIONS, PHOTO, RGBA, SHAPES, patched, pil, png, stored, tiff
from picture_process import output_of, python

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media import images

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
REFUSED = {
    "nothing": b"",
    "one byte": b"\x89",
    "zeros": bytes(1000),
    "text": b"this is not a picture",
    "pdf": b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj\n%%EOF",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file",
    "heic": HEIC,
    "csv that libvips reads": b"1 2 3\n4 5 6\n",
    "vips": b"\x08\xf2\xa6\xb6" + bytes(100),
    "tiff float": tiff(PHOTO.astype(np.float32), photometric="rgb"),
    "tiff half": tiff(SHAPES.astype(np.float16)),
    "tiff 32 bit": tiff(SHAPES.astype(np.uint32)),
    "tiff signed": tiff(SHAPES.astype(np.int16)),
    "tiff complex": tiff(SHAPES.astype(np.complex64)),
    "tiff lab": pil(PHOTO, "TIFF", "LAB"),
    "tiff raw YCbCr": pil(PHOTO, "TIFF", "YCbCr"),
    "tiff 5 channels": tiff(np.dstack([RGBA, SHAPES]), photometric="rgb", extrasamples=["unassalpha", "unspecified"]),
    "tiff preview": tiff(PHOTO, photometric="rgb", subfiletype=1),
    "tiff without directory": b"II*\0\xff\xff\xff\x7f",
    "png without rows": png(9, 9),
    "png of size 0": png(0, 9),
}


@pytest.mark.parametrize("blob", REFUSED.values(), ids=REFUSED)
def test_what_is_no_picture_of_ours_is_refused(tmp_path: Path, blob: bytes) -> None:
    path = stored(tmp_path, blob, "photo.png")
    with pytest.raises(InputUnreadable) as caught:
        images.read(path)
    error = caught.value
    assert error.path == path and error.found and error.remedy
    assert len(str(error).splitlines()) == 1


def bombs() -> dict[str, bytes]:
    """Files of a few hundred bytes that claim more than there can be."""
    jpeg, gif, tif = pil(PHOTO[:8, :8], "JPEG"), pil(PHOTO[:8, :8], "GIF"), pil(PHOTO[:8, :8], "TIFF")
    frame = jpeg.index(b"\xff\xc0") + 5
    descriptor = gif.index(b",\0\0\0\0") + 5
    size = {side: struct.pack("<HHI", tag, 4, 1) for side, tag in (("width", 256), ("height", 257))}
    at = {side: tif.index(entry) + 8 for side, entry in size.items()}
    huge = 2**31 - 1
    return {
        "png 20000": png(20000, 20000),
        "png 2^31-1": png(huge, huge),
        "png one row": png(1, huge),
        "png 2^32-1": png(2**32 - 1, 2**32 - 1),
        "jpeg": patched(jpeg, frame, struct.pack(">HH", 65500, 65500)),
        "gif": patched(patched(gif, 6, b"\xff" * 4), descriptor, b"\xff" * 4),
        "tiff 20000": patched(
            patched(tif, at["width"], struct.pack("<I", 20000)), at["height"], struct.pack("<I", 20000)
        ),
        "tiff 2^31-1": patched(
            patched(tif, at["width"], struct.pack("<I", huge)), at["height"], struct.pack("<I", huge)
        ),
        "webp": patched(ANIMATIONS["webp"], ANIMATIONS["webp"].index(b"VP8X") + 12, b"\xff" * 6),
    }


@pytest.mark.alone
def test_header_bombs_are_refused_at_once(tmp_path: Path) -> None:
    for name, blob in bombs().items():
        stored(tmp_path, blob, name)
    code = """
def peak(): return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
for path in sorted(Path(sys.argv[1]).iterdir()):
    for function in (images.probe, images.read):
        before, begin = peak(), time.perf_counter()
        try: function(path)
        except images.InputUnreadable as error:
            print(path.name, time.perf_counter() - begin, peak() - before, error.found, sep="|")
"""
    lines = [line.split("|") for line in output_of(python(code, tmp_path)).splitlines()]
    assert len(lines) == 2 * len(bombs())
    for name, seconds, mebibytes, found in lines:
        assert float(seconds) < 0.2 and float(mebibytes) < 50, name
        assert "claims" in found or not name.startswith("png")


def test_a_long_side_is_refused_before_it_costs_minutes(tmp_path: Path) -> None:
    path = stored(tmp_path, pil(np.zeros((1, images.MAX_INPUT_SIDE + 1), np.uint8), "PNG"))
    with pytest.raises(InputUnreadable, match=str(images.MAX_INPUT_SIDE)):
        images.probe(path)
