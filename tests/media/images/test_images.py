"""Pictures: what is read is what others read, what is damaged is refused, what is written is whole or not there."""

from __future__ import annotations

import fcntl
import io
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms, ImageOps
from project import ROOT
from skimage import data

from gpsr_deploy import atomic
from gpsr_deploy.errors import InputUnreadable, OutOfMemory, OutputUnwritable, UsageError
from gpsr_deploy.media import images
from gpsr_deploy.media.images import Picture

PHOTO = data.astronaut()[20:81, 170:253]  # 61x83: no multiple of anything
SHAPES = np.random.default_rng(0).integers(0, 256, PHOTO.shape[:2], np.uint8)  # as grey or alpha
DEEP = PHOTO.astype(np.uint16) * 257 + SHAPES[..., None] % 100
RGBA = np.dstack([PHOTO, SHAPES])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = [".png", ".tif"]
EVERY_SUFFIX = [".png", ".jpg", ".webp", ".tif"]


def linear_grey() -> bytes:
    """A profile for grey that is proportional to light, by ICC.1:2001."""
    light = struct.pack(">iii", 63190, 65536, 54061)  # D50 in units of 2^-16
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(79),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": b"XYZ \0\0\0\0" + light,
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IHH", 1, 1 << 8, 0),
    }
    body, table = b"".join(tags.values()), b""
    start = at = 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", at, len(value))
        at += len(value)
    head = struct.pack(">I4sI", start + len(body), b"test", 0x02400000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp"
    return head + bytes(28) + light + bytes(48) + struct.pack(">I", len(tags)) + table + body


LINEAR_GREY = linear_grey()


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever happens, the library says nothing on stdout or stderr."""
    yield
    assert capfd.readouterr() == ("", "")


def pil(array: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(array)
    out = io.BytesIO()
    (image.convert(mode) if mode else image).save(out, kind, **options)
    return out.getvalue()


def tiff(array: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, **options)
    return out.getvalue()


def opencv(suffix: str, array: np.ndarray) -> bytes:
    swapped = (
        array
        if array.ndim == 2
        else cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    )
    return cv2.imencode(suffix, swapped)[1].tobytes()


def animation(kind: str, **options: object) -> bytes:
    return pil(
        PHOTO,
        kind,
        save_all=True,
        append_images=[Image.fromarray(PHOTO[::-1]), Image.fromarray(PHOTO[:, ::-1])],
        **options,
    )


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(height: int, width: int, *, rows: bytes = b"") -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def patched(blob: bytes, at: int, new: bytes) -> bytes:
    return blob[:at] + new + blob[at + len(new) :]


def stored(folder: Path, blob: bytes, name: str = "picture") -> Path:
    path = folder / name
    path.write_bytes(blob)
    return path


def together(picture: Picture) -> np.ndarray:
    """Pixels and alpha as Pillow and OpenCV hold them."""
    return picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])


def by_pillow(path: Path) -> np.ndarray:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.array(image)


def by_opencv(path: Path) -> np.ndarray:
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    return (
        array
        if array.ndim == 2
        else cv2.cvtColor(array, cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    )


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.mean((one.astype(float) - other) ** 2), 1e-9))


def python(code: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Another process with our module imported as `images`, `Path` and `sys.argv` at hand."""
    head = "import sys, os, time; from pathlib import Path; import numpy as np; from gpsr_deploy import atomic; from gpsr_deploy.media import images\n"
    command = [*wrapper, sys.executable, "-c", head + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def output_of(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


# What is read

EIGHT_BIT = {
    "png grey": pil(SHAPES, "PNG"),
    "png rgb": pil(PHOTO, "PNG"),
    "png rgba": pil(RGBA, "PNG"),
    "png grey alpha": pil(RGBA, "PNG", "LA"),
    "png 1 bit": pil(SHAPES, "PNG", "1"),
    "png palette": pil(PHOTO, "PNG", "P"),
    "png palette of 4": pil(SHAPES // 64, "PNG", "P", bits=2),
    "png palette tRNS": pil(PHOTO, "PNG", "P", transparency=bytes(range(256))),
    "png grey tRNS": pil(SHAPES, "PNG", transparency=int(SHAPES[0, 0])),
    "png rgb tRNS": pil(PHOTO, "PNG", transparency=tuple(map(int, PHOTO[0, 0]))),
    "jpeg grey": pil(PHOTO, "JPEG", "L"),
    "jpeg 4:4:4": pil(PHOTO, "JPEG", quality=95, subsampling=0),
    "jpeg progressive": pil(PHOTO, "JPEG", progressive=True, subsampling=0),
    "webp rgb": pil(PHOTO, "WEBP", lossless=True),
    "webp rgba": pil(RGBA, "WEBP", lossless=True, exact=True),
    "tiff 1 bit": pil(SHAPES, "TIFF", "1"),
    "tiff grey": pil(SHAPES, "TIFF"),
    "tiff grey alpha": pil(RGBA, "TIFF", "LA"),
    "tiff white is zero": tiff(SHAPES, photometric="miniswhite"),
    "tiff palette": pil(PHOTO, "TIFF", "P"),
    "tiff rgb": pil(PHOTO, "TIFF"),
    "tiff rgba": pil(RGBA, "TIFF"),
    "tiff lzw": pil(PHOTO, "TIFF", compression="tiff_lzw"),
    "tiff deflate": pil(PHOTO, "TIFF", compression="tiff_adobe_deflate"),
    "tiff jpeg": pil(PHOTO, "TIFF", compression="jpeg"),
    "tiff fax": pil(SHAPES, "TIFF", "1", compression="group4"),
    "tiff planes": tiff(np.moveaxis(PHOTO, 2, 0), photometric="rgb", planarconfig="separate"),
    "tiff tiles": tiff(np.tile(PHOTO, (3, 3, 1)), photometric="rgb", tile=(32, 32)),
    "tiff big": tiff(PHOTO, photometric="rgb", bigtiff=True),
    "tiff motorola": tiff(PHOTO, photometric="rgb", byteorder=">"),
    "gif": pil(PHOTO, "GIF", "P"),
    "1x1": pil(PHOTO[:1, :1], "PNG"),
    "2x1": pil(PHOTO[:2, :1], "TIFF"),
    "wide": pil(np.tile(PHOTO[:1], (1, 700, 1)), "JPEG", subsampling=0),
}


@pytest.mark.parametrize("blob", EIGHT_BIT.values(), ids=EIGHT_BIT)
def test_eight_bits_are_what_pillow_reads(tmp_path: Path, blob: bytes) -> None:
    path = stored(tmp_path, blob)
    picture = images.read(path)
    mode = ("L" if picture.pixels.ndim == 2 else "RGB") + ("A" if picture.alpha is not None else "")
    with Image.open(path) as image:
        expected = np.array(image.convert(mode))
        # Pillow names as transparent what it has not yet made so: nothing may be lost on the way to `mode`.
        assert ("A" in mode) == (image.has_transparency_data)
        assert (picture.pixels.ndim == 2) == (image.mode in ("1", "L", "LA"))
    assert picture.pixels.dtype == np.uint8
    assert np.array_equal(together(picture), expected)
    assert picture.warnings == ()


SIXTEEN_BIT = {
    "png grey": opencv(".png", DEEP[..., 0]),
    "png rgb": opencv(".png", DEEP),
    "png rgba": opencv(".png", np.dstack([DEEP, DEEP[..., :1]])),
    "tiff grey": opencv(".tiff", DEEP[..., 0]),
    "tiff rgb": opencv(".tiff", DEEP),
    "tiff rgba": tiff(np.dstack([DEEP, DEEP[..., :1]]), photometric="rgb", extrasamples=["unassalpha"]),
    "tiff motorola": tiff(DEEP, photometric="rgb", byteorder=">"),
}


@pytest.mark.parametrize("blob", SIXTEEN_BIT.values(), ids=SIXTEEN_BIT)
def test_sixteen_bits_stay_sixteen(tmp_path: Path, blob: bytes) -> None:
    picture = images.read(stored(tmp_path, blob))
    assert picture.pixels.dtype == np.uint16
    channels = {(2, False): DEEP[..., 0], (3, False): DEEP, (3, True): np.dstack([DEEP, DEEP[..., :1]])}
    assert np.array_equal(together(picture), channels[picture.pixels.ndim, picture.alpha is not None])


def test_sixteen_bit_grey_alpha_stays_sixteen(tmp_path: Path) -> None:
    both = np.dstack([DEEP[..., 0], DEEP[..., 1]])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in both)
    blob = png(*both.shape[:2], rows=rows)
    blob = patched(blob, 8, png_chunk(b"IHDR", struct.pack(">IIBBBBB", both.shape[1], both.shape[0], 16, 4, 0, 0, 0)))
    assert np.array_equal(together(images.read(stored(tmp_path, blob))), both)


@pytest.mark.parametrize(
    "blob", [*EIGHT_BIT.values(), *SIXTEEN_BIT.values()], ids=[*EIGHT_BIT, *(f"16 bit {name}" for name in SIXTEEN_BIT)]
)
def test_the_header_tells_what_will_be_read(tmp_path: Path, blob: bytes) -> None:
    path = stored(tmp_path, blob)
    header, picture = images.probe(path), images.read(path)
    assert (header.height, header.width) == picture.pixels.shape[:2]
    assert header.grey == (picture.pixels.ndim == 2)
    assert header.has_alpha == (picture.alpha is not None)
    assert (header.depth, header.format, header.has_exif) == (picture.depth, picture.format, picture.exif is not None)


def test_arrays_are_contiguous_and_their_own(tmp_path: Path) -> None:
    picture = images.read(stored(tmp_path, pil(RGBA, "PNG")))
    for array in (picture.pixels, picture.alpha):
        assert array is not None and array.flags.c_contiguous and array.flags.writeable and array.base is None


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.pdf", "photo"])
def test_the_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    assert images.read(stored(tmp_path, pil(PHOTO, "WEBP", lossless=True), name)).format == "webp"


ANIMATIONS = {
    "gif": animation("GIF"),
    "apng": animation("PNG"),
    "webp": animation("WEBP", lossless=True),
    "tiff": animation("TIFF"),
}


@pytest.mark.parametrize("blob", ANIMATIONS.values(), ids=ANIMATIONS)
def test_of_several_frames_the_first_is_read_and_all_are_counted(tmp_path: Path, blob: bytes) -> None:
    path = stored(tmp_path, blob)
    assert images.probe(path).frames == 3
    picture = images.read(path)
    assert any("3 frames" in warning for warning in picture.warnings)
    with Image.open(path) as image:
        assert np.array_equal(picture.pixels, np.array(image.convert("RGB")))


def cmyk(profile: bytes | None) -> tuple[bytes, bytes]:
    """The photograph in printing inks, as TIFF, and libvips' own profile for them."""
    flat = np.ascontiguousarray(PHOTO)
    rgb = pyvips.Image.new_from_memory(flat, *PHOTO.shape[1::-1], 3, "uchar").copy(interpretation="srgb")
    inks = rgb.icc_transform("cmyk", input_profile="srgb")
    out = io.BytesIO()
    Image.fromarray(inks.numpy(), "CMYK").save(out, "TIFF", icc_profile=profile)
    return out.getvalue(), inks.get("icc-profile-data")


@pytest.mark.parametrize("embedded", ["its own profile", "no profile", "a corrupt profile"])
def test_cmyk_becomes_srgb(tmp_path: Path, embedded: str) -> None:
    profile = {"its own profile": cmyk(None)[1], "no profile": None, "a corrupt profile": b"junk" * 40}[embedded]
    picture = images.read(stored(tmp_path, cmyk(profile)[0]))
    assert decibels(picture.pixels, PHOTO) > 26  # as far as the inks' gamut goes
    assert picture.icc is None
    assert any("CMYK" in warning for warning in picture.warnings)


def test_cmyk_is_read_through_its_own_profile(tmp_path: Path) -> None:
    """With the tables of the profile wiped, all inks give one colour."""
    _, profile = cmyk(None)
    for tag in range(int.from_bytes(profile[128:132])):
        name, at, size = struct.unpack_from(">4sII", profile, 132 + 12 * tag)
        if name.startswith(b"A2B"):
            profile = patched(profile, at + 2048, bytes(size - 2048))
    assert np.ptp(images.read(stored(tmp_path, cmyk(profile)[0])).pixels, axis=(0, 1)).max() <= 1


# What is refused

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


CUT = EIGHT_BIT | {
    "png 16 bit": SIXTEEN_BIT["png rgb"],
    "webp lossy": pil(PHOTO, "WEBP"),
    "webp with metadata behind": pil(PHOTO, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", xmp=bytes(500)),
    "tiff tiles with a tag that libtiff warns of": EIGHT_BIT["tiff tiles"].replace(b"tifffile.py\0", b"tifffile.pyX"),
    "png with metadata behind": pil(PHOTO, "PNG")[:-12]
    + png_chunk(b"tEXt", b"a\0" + bytes(500))
    + pil(PHOTO, "PNG")[-12:],
}


@pytest.mark.parametrize("blob", CUT.values(), ids=CUT)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_cut_file_is_refused(tmp_path: Path, blob: bytes, share: float) -> None:
    with pytest.raises(InputUnreadable):
        images.read(stored(tmp_path, blob[: int(len(blob) * share)]))


@pytest.mark.parametrize("name", [name for name in CUT if name not in ("gif", "tiff fax", "wide", "1x1")])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    """Without those whose last bytes, one to four, only say that nothing follows, and are not looked at."""
    blob = CUT[name]
    for length in {*range(0, len(blob), len(blob) // 25 + 1), *range(len(blob) - 5, len(blob))}:
        with pytest.raises(InputUnreadable):
            images.read(stored(tmp_path, blob[:length]))


def test_a_flipped_byte_in_a_png_is_always_refused(tmp_path: Path) -> None:
    """Signature, length, type, data and CRC of every chunk: there is no byte in a PNG that belongs to nothing."""
    random = np.random.default_rng(1)
    blob = pil(PHOTO, "PNG", icc_profile=SRGB, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", dpi=(300, 300))
    for at in random.integers(0, len(blob), 200):
        path = stored(tmp_path, patched(blob, at, bytes([blob[at] ^ random.integers(1, 256)])))
        with pytest.raises(InputUnreadable):
            images.read(path)


def test_bytes_behind_a_png_belong_to_no_chunk(tmp_path: Path) -> None:
    picture = images.read(stored(tmp_path, pil(PHOTO, "PNG") + b"left behind by an editor"))
    assert np.array_equal(picture.pixels, PHOTO)


@pytest.mark.parametrize(
    "name", ["jpeg 4:4:4", "jpeg progressive", "jpeg grey", "webp rgb", "webp rgba", "tiff rgb", "tiff lzw", "gif"]
)
def test_a_flipped_byte_elsewhere_gives_a_picture_or_a_refusal(tmp_path: Path, name: str) -> None:
    random, blob, refused = np.random.default_rng(2), EIGHT_BIT[name], 0
    for at in random.integers(0, len(blob), 100):
        path = stored(tmp_path, patched(blob, at, bytes([blob[at] ^ random.integers(1, 256)])))
        try:
            images.read(path)
        except InputUnreadable:
            refused += 1
    assert refused < 100


def test_damage_that_a_jpeg_decoder_passes_over_is_named(tmp_path: Path) -> None:
    blob = EIGHT_BIT["jpeg 4:4:4"]
    end = len(blob) // 2
    picture = images.read(stored(tmp_path, blob[:end] + b"\xff\xd9"))  # an end marker where half the rows are missing
    assert picture.pixels.shape == PHOTO.shape
    assert any("damage" in warning for warning in picture.warnings)


def test_a_tag_that_libtiff_warns_of_is_no_reason_to_refuse(tmp_path: Path) -> None:
    blob = tiff(PHOTO, photometric="rgb")
    picture = images.read(stored(tmp_path, blob.replace(b"tifffile.py\0", b"tifffile.pyX")))
    assert np.array_equal(picture.pixels, PHOTO)
    assert len(picture.warnings) == 1


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


def test_no_memory_for_the_pixels_is_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", empty)
    with pytest.raises(OutOfMemory):
        images.read(stored(tmp_path, pil(PHOTO, "PNG")))


def test_reading_leaves_no_descriptor_and_no_frame_behind(tmp_path: Path) -> None:
    paths = [stored(tmp_path, blob, name) for name, blob in EIGHT_BIT.items()]
    before = len(os.listdir("/proc/self/fd"))
    for path in paths:
        images.read(path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_reading_holds_little_more_than_the_result(tmp_path: Path, suffix: str) -> None:
    """The decoder's rows (20 to 30 MiB at this width) and, for JPEG, the file: no second copy of 70 MiB."""
    path = tmp_path / f"large{suffix}"
    images.write(path, Picture(pixels=np.tile(PHOTO, (120, 40, 1))))
    code = """
def peak(): return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
before = peak()
pixels = images.read(Path(sys.argv[1])).pixels
print(pixels.nbytes / 2**20, peak() - before)
"""
    result, total = map(float, output_of(python(code, path)).split())
    in_file = path.stat().st_size / 2**20 if suffix == ".jpg" else 0
    assert total < result + in_file + 40 < 2 * result + in_file


# Metadata


def with_orientation(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    return pil(PHOTO, kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_exactly_once(tmp_path: Path, kind: str, orientation: int) -> None:
    path = stored(tmp_path, with_orientation(kind, orientation))
    picture = images.read(path)
    with Image.open(path) as image:
        upright = np.array(ImageOps.exif_transpose(image))
    assert np.array_equal(picture.pixels, upright)
    assert (images.probe(path).height, images.probe(path).width) == upright.shape[:2]
    target = tmp_path / "again.png"
    images.write(target, picture)
    with Image.open(target) as image:
        assert np.array_equal(np.array(ImageOps.exif_transpose(image)), upright)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_exif_is_kept(tmp_path: Path, kind: str, suffix: str) -> None:
    source, target = stored(tmp_path, with_orientation(kind, 6)), tmp_path / f"out{suffix}"
    assert images.probe(source).has_exif
    images.write(target, images.read(source))
    with Image.open(target) as image:
        exif = image.getexif()
    assert (exif[0x010F], exif[0x0112]) == ("Maker", 1)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0junk", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_is_dropped_with_a_warning(tmp_path: Path, exif: bytes) -> None:
    picture = images.read(stored(tmp_path, pil(PHOTO, "PNG", exif=exif)))
    assert picture.exif is None
    assert any("EXIF" in warning for warning in picture.warnings)
    assert np.array_equal(picture.pixels, PHOTO)


def test_exif_that_is_not_read_is_named(tmp_path: Path) -> None:
    software, exif = struct.pack("<HH", 305, 2), struct.pack("<HH", 34665, 4)
    picture = images.read(stored(tmp_path, tiff(PHOTO, photometric="rgb").replace(software, exif)))
    assert any("EXIF" in warning for warning in picture.warnings)


def test_the_old_thumbnail_does_not_survive(tmp_path: Path) -> None:
    """It shows the picture as it lay in the file; a viewer would show it sideways."""
    thumbnail = pil(PHOTO[:8, :8], "JPEG")
    entries = [(0x0112, 3, 1, 6 << 16)], [(0x0103, 3, 1, 6 << 16), (0x0201, 4, 1, 68), (0x0202, 4, 1, len(thumbnail))]
    first, second = (
        struct.pack(">H", len(rows)) + b"".join(struct.pack(">HHII", *row) for row in rows) for rows in entries
    )
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + first + struct.pack(">I", 26) + second + bytes(4) + thumbnail
    images.write(tmp_path / "out.jpg", images.read(stored(tmp_path, pil(PHOTO, "JPEG", exif=exif))))
    assert thumbnail in exif and thumbnail not in (tmp_path / "out.jpg").read_bytes()


def test_xmp_is_kept_and_upright(tmp_path: Path) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/><tiff:Orientation>8</tiff:Orientation></x:xmpmeta>'
    images.write(tmp_path / "out.webp", images.read(stored(tmp_path, pil(PHOTO, "WEBP", xmp=packet))))
    with Image.open(tmp_path / "out.webp") as image:
        assert image.info["xmp"] == packet.replace(b'"6"', b'"1"').replace(b">8<", b">1<")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_resolution_is_kept_and_turns_with_the_picture(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = stored(tmp_path, pil(PHOTO, "TIFF", resolution_unit=3, x_resolution=100.0, y_resolution=50.0, exif=exif))
    target = tmp_path / f"out{suffix}"
    images.write(target, images.read(source))
    assert images.read(target).resolution == pytest.approx((10, 5), rel=0.01)


@pytest.mark.parametrize("suffix", EVERY_SUFFIX)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_icc_bytes_are_identical_in_the_output(tmp_path: Path, kind: str, suffix: str) -> None:
    picture = images.read(stored(tmp_path, pil(PHOTO, kind, icc_profile=SRGB)))
    assert picture.icc == SRGB and picture.warnings == ()
    images.write(tmp_path / f"out{suffix}", picture)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_grey_profile_stays_with_a_grey_picture(tmp_path: Path, suffix: str) -> None:
    picture = images.read(stored(tmp_path, pil(SHAPES, "TIFF", icc_profile=LINEAR_GREY)))
    images.write(tmp_path / f"out{suffix}", picture)
    assert images.read(tmp_path / f"out{suffix}").icc == picture.icc == LINEAR_GREY


CORRUPT_ICC = {
    "cut": SRGB[:100],
    "cut in a tag": SRGB[:-40],
    "longer than it says": SRGB + bytes(400),
    "length": patched(SRGB, 0, b"\xff\xff\xff\xff"),
    "length 0": patched(SRGB, 0, bytes(4)),
    "signature": patched(SRGB, 36, b"pcsa"),
    "version": patched(SRGB, 8, b"\xff"),
    "class": patched(SRGB, 12, b"????"),
    "link": patched(SRGB, 12, b"link"),
    "connection": patched(SRGB, 20, b"????"),
    "intent": patched(SRGB, 64, b"\xff\xff\xff\xff"),
    "tag count": patched(SRGB, 128, b"\xff\xff\xff\xff"),
    "tag offset": patched(SRGB, 136, b"\xff\xff\xff\xf0"),
    "tag size": patched(SRGB, 140, b"\x7f\xff\xff\xff"),
    "for CMYK": patched(SRGB, 16, b"CMYK"),
    "for grey": LINEAR_GREY,
    "odd length in version 4": struct.pack(">I", len(SRGB) + 1) + SRGB[4:] + b"\0",
    "junk": b"junk" * 100,
}


@pytest.mark.parametrize("profile", CORRUPT_ICC.values(), ids=CORRUPT_ICC)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_icc_profile_that_cannot_be_right_is_dropped_with_a_warning(
    tmp_path: Path, kind: str, profile: bytes
) -> None:
    blob = pil(PHOTO, kind, icc_profile=profile)
    picture = images.read(stored(tmp_path, blob))
    with Image.open(io.BytesIO(blob)) as image:
        assert np.array_equal(picture.pixels, np.array(image))
    expected = SRGB if kind == "PNG" and profile.startswith(SRGB) else None  # libpng cuts it to the length it says
    assert picture.icc == expected
    assert any("ICC" in warning for warning in picture.warnings) == (expected is None)


def test_what_icc_profile_is_kept_can_be_written(tmp_path: Path) -> None:
    """Whatever byte of its header and tag table is changed: dropped when read, or in the output, byte for byte."""
    random, kept = np.random.default_rng(3), 0
    for at in random.integers(0, 132 + 12 * 10, 60):
        profile = patched(SRGB, at, random.bytes(1))
        picture = images.read(stored(tmp_path, pil(PHOTO[:2, :2], "TIFF", icc_profile=profile)))
        for suffix in EVERY_SUFFIX if picture.icc else []:
            images.write(tmp_path / f"out{suffix}", picture, overwrite=True)
            assert images.read(tmp_path / f"out{suffix}").icc == profile, at
            kept += 1
    assert kept > 40


# Hidden colours

SIZES = [(1, 1), (1, 9), (7, 1), (2, 2), (17, 31), (64, 64), (100, 37)]


def disc(height: int, width: int) -> np.ndarray:
    """Alpha of a soft disc with much nothing around."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.clip((0.4 - np.hypot(y, x)) * 2000, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_bleed_touches_only_what_is_hidden_and_never_reads_it(
    size: tuple[int, int], dtype: type, channels: tuple[int, ...]
) -> None:
    random = np.random.default_rng(4)
    top = np.iinfo(dtype).max
    pixels, garbage = random.integers(0, top, (2, *size, *channels), dtype, endpoint=True)
    alpha = disc(*size).astype(dtype) * (top // 255)
    alpha[0, 0] = 1
    result = images.bleed(pixels, alpha)
    assert (result.shape, result.dtype) == (pixels.shape, dtype)
    assert np.array_equal(result[alpha > 0], pixels[alpha > 0])
    pixels[alpha == 0] = garbage[alpha == 0]
    assert np.array_equal(images.bleed(pixels, alpha), result)
    assert result.max() <= pixels[alpha > 0].max() and result.min() >= pixels[alpha > 0].min()


@pytest.mark.parametrize("size", SIZES)
def test_bleed_carries_one_colour_everywhere(size: tuple[int, int]) -> None:
    alpha = disc(*size)
    alpha[-1, -1] = 200
    pixels = np.where(alpha[..., None] > 0, [200, 3, 77], [0, 255, 0]).astype(np.uint8)
    assert (images.bleed(pixels, alpha) == [200, 3, 77]).all()


@pytest.mark.parametrize("gap", [1, 2, 7, 30])
def test_bleed_takes_the_nearest_colour(gap: int) -> None:
    """A black and a white half with a hidden band between: each side of the band takes after its own neighbour."""
    alpha = np.full((64, 100), 255, np.uint8)
    alpha[:, 50 - gap : 50 + gap] = 0
    pixels = np.full((64, 100), 128, np.uint8)
    pixels[:, : 50 - gap], pixels[:, 50 + gap :] = 0, 255
    result = images.bleed(pixels, alpha)
    assert (result[:, 50 - gap] == 0).all() and (result[:, 49 + gap] == 255).all()


@pytest.mark.parametrize("size", SIZES)
def test_bleed_of_nothing_visible_is_black_and_of_nothing_hidden_is_the_picture(size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 99, np.uint8)
    assert not images.bleed(pixels, np.zeros(size, np.uint8)).any()
    assert images.bleed(pixels, np.ones(size, np.uint8)) is pixels


def test_bleed_is_fast() -> None:
    pixels, alpha = np.zeros((1000, 1000, 3), np.uint8), disc(1000, 1000)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        images.bleed(pixels, alpha)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.5


# What is written


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("with_alpha", [True, False])
def test_png_and_tiff_hold_every_bit(tmp_path: Path, suffix: str, dtype: type, grey: bool, with_alpha: bool) -> None:
    random = np.random.default_rng(5)
    pixels, alpha = (
        random.integers(0, np.iinfo(dtype).max, (31, 17, *rest), dtype, endpoint=True) for rest in ([3], [])
    )
    picture = Picture(
        pixels=pixels[..., 0] if grey else pixels, alpha=alpha if with_alpha else None
    )  # grey: not contiguous
    path = tmp_path / f"out{suffix}"
    images.write(path, picture)
    expected = together(picture)
    assert np.array_equal(together(images.read(path)), expected)
    if suffix == ".tif":
        assert np.array_equal(tifffile.imread(path), expected)
    elif grey and with_alpha:  # which OpenCV expands
        assert np.array_equal(by_opencv(path)[..., [0, 3]], expected)
    else:
        assert np.array_equal(by_opencv(path), expected)
    if dtype == np.uint8:
        assert np.array_equal(by_pillow(path), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".webp"])
def test_lossy_formats_stay_close(tmp_path: Path, suffix: str) -> None:
    path, photo = tmp_path / f"out{suffix}", data.astronaut()
    images.write(path, Picture(pixels=photo))
    others = [images.read(path).pixels, by_pillow(path), by_opencv(path)]
    assert min(decibels(other, photo) for other in others) > (39 if "j" in suffix.lower() else 36)
    images.write(path, Picture(pixels=photo), quality=10, overwrite=True)
    assert decibels(images.read(path).pixels, photo) < 32


@pytest.mark.parametrize("quality", [50, 95])
def test_jpeg_keeps_all_its_colour(tmp_path: Path, quality: int) -> None:
    images.write(tmp_path / "out.jpg", Picture(pixels=PHOTO), quality=quality)
    with Image.open(tmp_path / "out.jpg") as image:
        assert {(vertical, horizontal) for _, vertical, horizontal, _ in image.layer} == {(1, 1)}


@pytest.mark.parametrize("value", [0, 128, 129, 257 * 100 + 128, 257 * 100 + 129, 65535])
def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path, value: int) -> None:
    images.write(tmp_path / "out.jpg", Picture(pixels=np.full((16, 16), value, np.uint16)), quality=100)
    assert (images.read(tmp_path / "out.jpg").pixels == round(value / 257)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("share", "expected"), [(0, 255), (0.2, 204), (1, 0)])
def test_jpeg_is_flattened_on_white(tmp_path: Path, dtype: type, share: float, expected: int) -> None:
    black, top = np.zeros((16, 16, 3), dtype), np.iinfo(dtype).max
    alpha = np.full((16, 16), share * top, dtype)
    images.write(tmp_path / "out.jpg", Picture(pixels=black, alpha=alpha), quality=100)
    assert np.abs(images.read(tmp_path / "out.jpg").pixels.astype(int) - expected).max() <= 1


def test_webp_keeps_alpha_and_converts_a_grey_profile(tmp_path: Path) -> None:
    grey = np.full(SHAPES.shape, 128, np.uint8)
    images.write(tmp_path / "out.webp", Picture(pixels=grey, alpha=SHAPES, icc=LINEAR_GREY))
    read = images.read(tmp_path / "out.webp")
    assert np.array_equal(read.alpha, SHAPES)
    assert np.abs(read.pixels[SHAPES > 0].astype(int) - 188).max() <= 3  # half the light, in sRGB
    assert read.warnings == ()


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
    assert checked(Path(name)) == ()
    images.write(Path(name), Picture(pixels=PHOTO))
    assert os.listdir(tmp_path) == [name]
    assert np.array_equal(images.read(tmp_path / name).pixels, PHOTO)


# What cannot be written


def checked(
    path: Path, *, height: int = 61, width: int = 83, has_alpha: bool = False, depth: images.Depth = 8, **more: bool
) -> tuple[str, ...]:
    return images.check_output(
        path, height=height, width=width, has_alpha=has_alpha, depth=depth, **{"overwrite": False, **more}
    )


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("name", ["x", "x.bmp", "x.png.txt", "x.pdf", ".png"])
def test_an_unknown_suffix_is_a_usage_error(tmp_path: Path, name: str) -> None:
    for call in (checked, lambda path: images.write(path, Picture(pixels=PHOTO))):
        with pytest.raises(UsageError):
            call(tmp_path / name)


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_has_bounds(tmp_path: Path, quality: int) -> None:
    with pytest.raises(UsageError):
        images.write(tmp_path / "x.jpg", Picture(pixels=PHOTO), quality=quality)


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16383), (".jpg", 65500)])
@pytest.mark.parametrize("upright", [True, False])
def test_the_longest_side_is_that_of_the_encoder(tmp_path: Path, suffix: str, side: int, upright: bool) -> None:
    path = tmp_path / f"x{suffix}"
    for length in (side, side + 1):
        pixels = np.zeros((length, 1) if upright else (1, length), np.uint8)
        height, width = pixels.shape
        if length == side:
            checked(path, height=height, width=width)
            images.write(path, Picture(pixels=pixels))
            assert images.probe(path).height == height
        else:
            with pytest.raises(OutputUnwritable):
                checked(path, height=height, width=width, overwrite=True)
            with pytest.raises(OutputUnwritable):
                images.write(path, Picture(pixels=pixels), overwrite=True)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_output_pixels_have_a_limit(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 2**60))
    checked(tmp_path / f"x{suffix}", height=1 << 17, width=1 << 17)
    with pytest.raises(OutputUnwritable):
        checked(tmp_path / f"x{suffix}", height=1 << 17, width=(1 << 17) + 1)


@pytest.mark.parametrize("suffix", EVERY_SUFFIX)
def test_a_full_disk_is_known_before_the_work(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = data.astronaut()
    path = tmp_path / f"x{suffix}"
    images.write(path, Picture(pixels=photo))
    needed = path.stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, needed))
    checked(path, height=photo.shape[0], width=photo.shape[1], overwrite=True)  # what fits is not refused
    with pytest.raises(OutputUnwritable):
        checked(path, height=photo.shape[0] * 8, width=photo.shape[1] * 8, overwrite=True)


def test_the_place_is_tried_before_the_work(tmp_path: Path) -> None:
    file = stored(tmp_path, b"old", "file.png")
    folder = tmp_path / "folder.png"
    folder.mkdir()
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "full.png").symlink_to("/dev/full")
    impossible = [
        "folder.png",
        "fifo.png",
        "full.png",
        "dangling.png",
        "missing/x.png",
        "file.png/x.png",
        "x" * 300 + ".png",
    ]
    before = sorted(os.listdir(tmp_path))
    for name in impossible:
        with pytest.raises(OutputUnwritable):
            checked(tmp_path / name, overwrite=True)
    with pytest.raises(OutputUnwritable, match="exists"):
        checked(file)
    assert checked(file, overwrite=True) == checked(tmp_path / "new.png") == ()
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("suffix", "picture", "warnings"),
    [
        (".png", {"has_alpha": True, "depth": 16, "has_exif": True}, []),
        (".tif", {"has_alpha": True, "depth": 16}, []),
        (".tif", {"has_exif": True}, ["EXIF"]),
        (".webp", {"has_alpha": True, "has_exif": True}, []),
        (".webp", {"depth": 16}, ["rounded"]),
        (".jpg", {"has_exif": True}, []),
        (".jpg", {"has_alpha": True, "depth": 16}, ["white", "rounded"]),
    ],
)
def test_what_a_format_cannot_hold_is_said(tmp_path: Path, suffix: str, picture: dict, warnings: list[str]) -> None:
    said = checked(tmp_path / f"x{suffix}", **picture)
    assert len(said) == len(warnings)
    assert all(word in line for word, line in zip(warnings, said, strict=True))


@pytest.mark.parametrize("suffix", EVERY_SUFFIX)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99, "all but one byte"])
def test_after_a_full_disk_the_old_file_is_intact(tmp_path: Path, suffix: str, share: float | str) -> None:
    path = tmp_path / f"x{suffix}"
    images.write(path, Picture(pixels=PHOTO, icc=SRGB))
    old = path.read_bytes()
    with disk_of(len(old) - 1 if isinstance(share, str) else int(len(old) * share)):
        with pytest.raises(OutputUnwritable):
            images.write(path, Picture(pixels=PHOTO, icc=SRGB), overwrite=True)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]


def test_a_full_disk_before_the_work_leaves_nothing(tmp_path: Path) -> None:
    with disk_of(10), pytest.raises(OutputUnwritable, match="(?i)large"):
        images.write(tmp_path / "x.png", Picture(pixels=PHOTO))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
def test_nothing_is_replaced_unasked(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as FAT answers

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tmp_path / "x.png"
    images.write(path, Picture(pixels=PHOTO))
    assert np.array_equal(images.read(path).pixels, PHOTO)
    with pytest.raises(OutputUnwritable, match="exists"):
        images.write(path, Picture(pixels=PHOTO[::-1]))
    assert np.array_equal(images.read(path).pixels, PHOTO)
    images.write(path, Picture(pixels=PHOTO[::-1]), overwrite=True)
    assert np.array_equal(images.read(path).pixels, PHOTO[::-1])
    assert os.listdir(tmp_path) == [path.name]


def test_several_writers_of_one_file_leave_one_whole_result(tmp_path: Path) -> None:
    path, candidates = tmp_path / "x.png", [np.full((300, 200, 3), value, np.uint8) for value in range(8)]
    writers = [
        threading.Thread(target=images.write, args=(path, Picture(pixels=pixels)), kwargs={"overwrite": True})
        for pixels in candidates
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert any(np.array_equal(images.read(path).pixels, pixels) for pixels in candidates)
    assert os.listdir(tmp_path) == [path.name]


LONG_WRITE = """
noise = np.frombuffer(np.random.default_rng(0).bytes(3 * 8000**2), np.uint8).reshape(8000, 8000, 3)
print("ready", flush=True)
try: images.write(Path(sys.argv[1]), images.Picture(pixels=noise))
except KeyboardInterrupt: sys.exit(130)
"""


@contextmanager
def writing(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of a write that takes seconds."""
    process = python(LONG_WRITE, path)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 20
        while not any(entry.stat().st_size for entry in path.parent.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [entry.suffix for entry in path.parent.iterdir()] == [".tmp"]
        yield process
    finally:
        process.kill()
        process.communicate()


def test_an_interrupt_stops_the_encoder_and_leaves_nothing(tmp_path: Path) -> None:
    with writing(tmp_path / "x.png") as process:
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert time.monotonic() - begin < 2
        assert process.stderr is not None and process.stderr.read() == ""
    assert os.listdir(tmp_path) == []


def test_a_kill_leaves_only_what_the_next_run_clears(tmp_path: Path) -> None:
    with writing(tmp_path / "x.png") as process:
        assert atomic.clean_stale(tmp_path) == ()  # a living writer keeps its file
        process.kill()
        process.wait()
        (stray,) = tmp_path.iterdir()
        assert atomic.clean_stale(tmp_path) == (stray,)
    assert os.listdir(tmp_path) == []


def test_clean_stale_knows_its_own_files(tmp_path: Path) -> None:
    foreign = [".x.png.tmp", ".x.png.12-ABCDEF01.tmp", ".x.png.12-abcdef0.tmp", "x.png.12-abcdef01.tmp", ".x.png.-abcdef01.tmp",
               ".x.png.12-abcdef01.tmp.png", "12-abcdef01.tmp", ".x.png.1a-abcdef01.tmp"]  # fmt: skip
    for name in foreign:
        stored(tmp_path, b"mine", name)
    (tmp_path / ".folder.12-abcdef01.tmp").mkdir()
    (tmp_path / ".link.12-abcdef01.tmp").symlink_to(foreign[0])
    os.mkfifo(tmp_path / ".fifo.12-abcdef01.tmp")
    before = sorted(os.listdir(tmp_path))
    ours = [
        stored(tmp_path, b"half", f".{name}.12-abcdef01.tmp")
        for name in ("x.png", "new\nline.png", os.fsdecode(b"\xff.png"))
    ]
    assert sorted(atomic.clean_stale(tmp_path)) == sorted(ours)
    assert sorted(os.listdir(tmp_path)) == before
    assert atomic.clean_stale(tmp_path / "missing") == ()


def test_a_writer_whose_new_file_is_cleared_before_it_is_locked_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clear_first(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        assert len(atomic.clean_stale(tmp_path)) == 1
        fcntl.flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", clear_first)
    images.write(tmp_path / "x.png", Picture(pixels=PHOTO))
    assert os.listdir(tmp_path) == ["x.png"]


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (PHOTO.astype(np.float32), None),
        (PHOTO[..., :2], None),
        (PHOTO[:0], None),
        (PHOTO, SHAPES[1:]),
        (PHOTO, SHAPES.astype(np.uint16)),
    ],
)
def test_arrays_that_do_not_fit_are_no_picture(pixels: np.ndarray, alpha: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="expected|pixels are"):
        Picture(pixels=pixels, alpha=alpha)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_no_exif_is_invented(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    images.write(path, Picture(pixels=PHOTO))
    with Image.open(path) as found:
        assert not dict(found.getexif())


@pytest.mark.parametrize("suffix", EVERY_SUFFIX)
def test_the_bytes_of_a_file_are_the_picture_in_it(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    images.write(path, Picture(pixels=PHOTO, icc=SRGB))
    found, wanted = images.decode(path.read_bytes()), images.read(path)
    assert np.array_equal(found.pixels, wanted.pixels)
    assert (found.icc, found.format) == (wanted.icc, wanted.format)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "cut"])
def test_bytes_that_are_no_picture_are_refused_without_a_path(content):
    with pytest.raises(InputUnreadable) as caught:
        images.decode(content)
    assert caught.value.path is None
