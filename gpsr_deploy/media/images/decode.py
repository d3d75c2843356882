"""From an open picture file to upright arrays, whole or by rows: what `images` knows about reading. On libvips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
import pyvips

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media.images import checks
from gpsr_deploy.media.images.picture import Header, InputFormat, Outline, Picture, Samples

MAX_INPUT_PIXELS = 1 << 28
"""Most pixels an input may claim: a header costs nothing to forge, and this many take up to 2 GiB."""

MAX_INPUT_SIDE = 1 << 17
"""Most pixels a side that an input may claim: the time that libvips takes for a row of tiles grows with the square."""

MAX_RESOLUTION = 1e6
"""Pixels per millimetre."""

_STRIP_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """What a picture was found to be when all of it was decoded once, so that it can be decoded again by rows."""

    outline: Outline
    header: Header
    tolerant: bool
    """Whether the decoder gives the pixels only when it may pass over damage."""


def read_header(file: BinaryIO) -> Header:
    """The header of the picture in `file`, decoding nothing. Raises InputUnreadable or, for damage, what libvips raises."""
    kind = _sniff(file)
    if kind == "png":
        _check_size(*checks.png_size(file))
    if kind == "tiff":
        _check_tiff(file)
    image = _load(file, kind)
    _check_size(image.height, image.width)
    has_alpha = bool(image.hasalpha())
    channels = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb16": 3, "cmyk": 4}.get(image.interpretation)
    if image.format not in ("uchar", "ushort") or image.bands - has_alpha != channels:
        raise InputUnreadable(
            f"a pixel has {image.bands} samples of type {image.format} and meaning {image.interpretation}",
            expected="8 or 16 bits of grey, RGB or CMYK, with or without alpha",
            remedy="convert the picture to 8- or 16-bit RGB",
        )
    if kind == "png":
        animation = checks.png_chunks(file, last=b"IDAT").get(b"acTL")
        frames = int.from_bytes(animation[:4]) if animation else 1
    else:
        frames = _field(image, "n-pages") or 1
    orientation = _field(image, "orientation")
    orientation = orientation if orientation in range(1, 9) else 1
    return Header(
        format=kind,
        height=image.height if orientation < 5 else image.width,
        width=image.width if orientation < 5 else image.height,
        grey=channels == 1,
        has_alpha=has_alpha,
        has_exif=bool(_field(image, "exif-data")),
        depth=8 if image.format == "uchar" else 16,
        frames=frames,
        orientation=orientation,
    )


def read_picture(file: BinaryIO) -> Picture:
    """The picture in `file`, decoded whole. Raises as `read_header` does, and MemoryError."""
    header = read_header(file)
    beside = _beside(file, header)
    shape, dtype = (header.height, header.width), _dtype(header)
    pixels: Samples = np.empty(shape if header.grey else (*shape, 3), dtype)
    alpha: Samples | None = np.empty(shape, dtype) if header.has_alpha else None

    def fill(strips: Iterator[Samples]) -> None:
        top = 0
        for strip in strips:  # each into its final place, so that nothing exists twice
            rows = slice(top, top + strip.shape[0])
            _as_stored(pixels, header.orientation)[rows] = strip[:, :, 0] if header.grey else strip[:, :, :3]
            if alpha is not None:
                _as_stored(alpha, header.orientation)[rows] = strip[:, :, -1]
            top = rows.stop

    damage = _decoded(file, header, fill, tolerant=beside.tolerant)
    return Picture(
        pixels=pixels,
        alpha=alpha,
        icc=beside.icc,
        exif=beside.exif,
        xmp=beside.xmp,
        resolution=beside.resolution,
        format=header.format,
        warnings=_warnings(header, damage, *beside.warnings),
    )


def survey(file: BinaryIO) -> Surveyed | None:
    """Decodes the picture in `file` and keeps no pixel: what can be read by rows afterwards is whole.

    None where the rows of the file are not those of the picture, since it is stored on its side or upside down, and
    where alpha must be known before the colours are. Raises as `read_picture` does.
    """
    header = read_header(file)
    if header.orientation not in (1, 2) or header.has_alpha:
        return None
    beside = _beside(file, header)

    def drop(strips: Iterator[Samples]) -> None:
        for _strip in strips:
            pass

    damage = _decoded(file, header, drop, tolerant=beside.tolerant)
    outline = Outline(
        height=header.height,
        width=header.width,
        grey=header.grey,
        has_alpha=False,
        depth=header.depth,
        icc=beside.icc,
        exif=beside.exif,
        xmp=beside.xmp,
        resolution=beside.resolution,
        warnings=_warnings(header, damage, *beside.warnings),
    )
    return Surveyed(outline=outline, header=header, tolerant=bool(damage))


def read_rows(file: BinaryIO, surveyed: Surveyed) -> Iterator[Samples]:
    """The upright rows of the picture in `file`, which was surveyed, some at a time. Raises as `read_picture` does."""
    header = surveyed.header
    if read_header(file) != header:
        raise InputUnreadable("the file changed while it was read", remedy="leave it alone, and try again")
    image = _load(file, header.format, fail_on="error" if surveyed.tolerant else "warning")

    for strip in _strips(image, header):
        yield _as_stored(strip[:, :, 0] if header.grey else strip, header.orientation)


def reason(error: pyvips.Error | UnicodeDecodeError) -> str:
    """The first two lines of what libvips says, as one: what failed and, often, why. The others repeat them."""
    said = error.detail if isinstance(error, pyvips.Error) else ""
    lines = list(dict.fromkeys(said.strip().splitlines()))
    return ", ".join(lines[:2]) or "libvips gives no reason"


def _sniff(file: BinaryIO) -> InputFormat:
    """The format by its first bytes. Nothing else is ever handed to libvips."""
    head = file.read(16)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    found = f"the file begins with {head[:8]!r}" if head else "the file is empty"
    raise InputUnreadable(found, expected="a PNG, JPEG, WebP, TIFF or GIF picture", remedy="convert it to PNG")


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_INPUT_PIXELS or max(height, width) > MAX_INPUT_SIDE:
        raise InputUnreadable(
            f"the header claims {height}x{width} pixels",
            expected=f"at most {MAX_INPUT_SIDE} a side and {MAX_INPUT_PIXELS} in all",
            remedy="a crop or a smaller picture",
        )


def _check_tiff(file: BinaryIO) -> None:
    """Refuses what libvips would open as something else than it is."""
    tags = {tag: value for tag, (_, value) in checks.tiff_directory(file)[1].items()}
    if tags.get(checks.SUBFILE, 0) & 1:
        raise InputUnreadable("the TIFF begins with a preview, as camera raw files do", remedy="develop it to PNG")
    meaning = tags.get(checks.PHOTOMETRIC), tags.get(checks.COMPRESSION)
    if meaning[0] not in (0, 1, 2, 3, 5) and meaning != (6, 7):
        raise InputUnreadable(
            f"the TIFF has photometric interpretation {meaning[0]} and compression {meaning[1]}",
            expected="grey, RGB, palette, CMYK, or YCbCr as JPEG",
            remedy="convert the picture to 8- or 16-bit RGB",
        )


def _load(file: BinaryIO, kind: InputFormat, *, fail_on: Literal["error", "warning"] = "error") -> pyvips.Image:
    """The picture as stored, to be decoded from the top, once."""
    file.seek(0)
    source = pyvips.Source.new_from_descriptor(file.fileno())
    match kind:
        case "png":
            return pyvips.Image.pngload_source(source, access="sequential", fail_on=fail_on)
        case "jpeg":
            return pyvips.Image.jpegload_source(source, access="sequential", fail_on=fail_on)
        case "webp":
            return pyvips.Image.webpload_source(source, access="sequential", fail_on=fail_on)
        case "tiff":
            return pyvips.Image.tiffload_source(source, access="sequential", fail_on=fail_on)
        case "gif":
            return pyvips.Image.gifload_source(source, access="sequential", fail_on=fail_on)


def _field(image: pyvips.Image, name: str) -> Any:
    return image.get(name) if image.get_typeof(name) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """What stands beside the pixels, and what is lost of it."""

    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    resolution: tuple[float, float]
    warnings: tuple[str, ...]
    tolerant: bool
    """Whether the decoder may pass over damage: not where it would leave lost tiles of a TIFF black."""


def _beside(file: BinaryIO, header: Header) -> _Beside:
    chunks = checks.png_chunks(file, last=b"IEND") if header.format == "png" else {}
    tags = checks.tiff_directory(file)[1] if header.format == "tiff" else {}
    image = _load(file, header.format)
    icc, icc_warning = _kept_icc(image, grey=header.grey, refused=b"iCCP" in chunks)
    stored_exif, xmp = _field(image, "exif-data"), _field(image, "xmp-data")
    exif = checks.upright_exif(stored_exif) if stored_exif else None
    return _Beside(
        icc=icc,
        exif=exif,
        xmp=checks.upright_xmp(xmp) if xmp else None,
        resolution=_resolution(image, header),
        warnings=(
            icc_warning,
            "the EXIF block is damaged and dropped" if not exif and (stored_exif or b"eXIf" in chunks) else "",
            "EXIF is not read from TIFF" if checks.EXIF in tags else "",
        ),
        tolerant=checks.TILE_WIDTH not in tags,
    )


def _resolution(image: pyvips.Image, header: Header) -> tuple[float, float]:
    """Vertical and horizontal, as in Picture; unknown where it is none that libvips could write."""
    found = (image.xres, image.yres) if header.orientation >= 5 else (image.yres, image.xres)
    return found if all(0 < value <= MAX_RESOLUTION for value in found) else (1.0, 1.0)


def _warnings(header: Header, *found: str) -> tuple[str, ...]:
    frames = f"the file holds {header.frames} frames, of which the first is used" if header.frames > 1 else ""
    return tuple(warning for warning in (frames, *found) if warning)


def _kept_icc(image: pyvips.Image, *, grey: bool, refused: bool) -> tuple[bytes | None, str]:
    """The profile, if it may stand beside the pixels, and else why not; `refused` if the decoder dropped one already."""
    if image.interpretation == "cmyk":
        return None, "CMYK is converted to sRGB"
    icc: bytes | None = _field(image, "icc-profile-data")
    if icc is None:
        return None, "the ICC profile is damaged or for other samples, and is dropped" if refused else ""
    if not checks.icc_intact(icc):
        return None, "the ICC profile is damaged and dropped"
    space = checks.icc_space(icc)
    if space != (b"GRAY" if grey else b"RGB "):
        return None, f"the ICC profile is for {space!r} and dropped"
    return icc, ""


def _decoded(file: BinaryIO, header: Header, use: Callable[[Iterator[Samples]], None], *, tolerant: bool) -> str:
    """Gives `use` the strips of the picture; once more, and returns why, if they only come where damage is passed over."""
    try:
        use(_strips(_load(file, header.format, fail_on="warning"), header))
    except pyvips.Error as error:
        _require_memory(header)
        if not tolerant:
            raise
        damage = f"the decoder passed over damage: {reason(error)}"
    else:
        return ""
    use(_strips(_load(file, header.format), header))
    return damage


def _strips(image: pyvips.Image, header: Header) -> Iterator[Samples]:
    """The rows as stored, from the top, some at a time: (n, width, channels), with alpha last."""
    if image.interpretation == "cmyk":
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=header.depth)
    dtype = _dtype(header)
    region = pyvips.Region.new(image)
    rows = max(16, _STRIP_BYTES // (image.width * image.bands * dtype.itemsize))  # by the row, tiles would be slow
    for top in range(0, image.height, rows):
        count = min(rows, image.height - top)
        fetched = region.fetch(0, top, image.width, count)
        yield np.frombuffer(fetched, dtype).reshape(count, image.width, image.bands)


def _require_memory(header: Header) -> None:
    """Raises MemoryError where a decoder's own frame finds no room, which libvips tells from damage in words only."""
    channels = (1 if header.grey else 3) + header.has_alpha
    np.empty((header.height, header.width, channels), _dtype(header))


def _dtype(header: Header) -> np.dtype[Any]:
    return np.dtype(np.uint8 if header.depth == 8 else np.uint16)


def _as_stored(upright: Samples, orientation: int) -> Samples:
    """A view of `upright` in the rows and columns of a file of this EXIF orientation."""
    view = upright.swapaxes(0, 1) if orientation >= 5 else upright
    return view[:: -1 if orientation in (3, 4, 6, 7) else 1, :: -1 if orientation in (2, 3, 7, 8) else 1]
