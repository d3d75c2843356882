"""From an open picture file to upright arrays: what `images` knows about reading. On libvips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
import pyvips
from numpy.typing import NDArray

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.images import checks

MAX_INPUT_PIXELS = 1 << 28
"""Most pixels an input may claim: a header costs nothing to forge, and this many take up to 2 GiB."""

MAX_INPUT_SIDE = 1 << 17
"""Most pixels a side that an input may claim: the time that libvips takes for a row of tiles grows with the square."""

InputFormat = Literal["png", "jpeg", "webp", "tiff", "gif"]
Depth = Literal[8, 16]
"""Bits per sample."""
Samples = NDArray[np.uint8] | NDArray[np.uint16]

_STRIP_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a picture will be once it is read."""

    format: InputFormat
    """By content; the file's name says nothing."""
    height: int
    """Pixels, after EXIF orientation."""
    width: int
    """Pixels, after EXIF orientation."""
    grey: bool
    """One colour channel, not three."""
    has_alpha: bool
    has_exif: bool
    depth: Depth
    frames: int
    """Frames or pages in the file, of which the first is read."""
    orientation: int
    """EXIF orientation as stored, 1 to 8: what `read` undoes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Upright pixels with what belongs to them. Arrays that do not fit each other are a ValueError."""

    pixels: Samples
    """(H, W, 3) RGB or (H, W) grey, full range of uint8 or uint16, not premultiplied by alpha."""
    alpha: Samples | None = None
    """(H, W) of the type of `pixels`; 0 is transparent."""
    icc: bytes | None = None
    """Colour profile of `pixels`."""
    exif: bytes | None = None
    """EXIF block with orientation 1."""
    xmp: bytes | None = None
    resolution: tuple[float, float] = (1.0, 1.0)
    """Pixels per millimetre, vertical and horizontal; 1.0 where nothing is known."""
    format: InputFormat | None = None
    """Format of the file that the picture came from, if any."""
    warnings: tuple[str, ...] = ()
    """What reading dropped, converted or passed over, one clause each."""

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype not in (np.uint8, np.uint16) or self.pixels.size == 0 or not (len(shape) == 2 or shape[2:] == (3,)):
            raise ValueError(f"pixels are {dtype} {shape}, expected (H, W) or (H, W, 3) of uint8 or uint16")
        if self.alpha is not None and (self.alpha.shape, self.alpha.dtype) != (shape[:2], dtype):
            raise ValueError(f"alpha is {self.alpha.dtype} {self.alpha.shape}, pixels are {dtype} {shape}")

    @property
    def depth(self) -> Depth:
        """Bits per sample."""
        return 8 if self.pixels.dtype == np.uint8 else 16


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
    chunks = checks.png_chunks(file, last=b"IEND") if header.format == "png" else {}
    tags = checks.tiff_directory(file)[1] if header.format == "tiff" else {}
    image = _load(file, header.format)
    icc, icc_warning = _kept_icc(image, grey=header.grey, refused=b"iCCP" in chunks)
    stored_exif, xmp = _field(image, "exif-data"), _field(image, "xmp-data")
    exif = checks.upright_exif(stored_exif) if stored_exif else None
    # Where libvips passes over damage, it leaves lost tiles of a TIFF black.
    pixels, alpha, damage_warning = _decode(file, header, tolerant=checks.TILE_WIDTH not in tags)
    warnings = (
        f"the file holds {header.frames} frames, of which the first is used" if header.frames > 1 else "",
        damage_warning,
        icc_warning,
        "the EXIF block is damaged and dropped" if not exif and (stored_exif or b"eXIf" in chunks) else "",
        "EXIF is not read from TIFF" if checks.EXIF in tags else "",
    )
    return Picture(
        pixels=pixels,
        alpha=alpha,
        icc=icc,
        exif=exif,
        xmp=checks.upright_xmp(xmp) if xmp else None,
        resolution=(image.xres, image.yres) if header.orientation >= 5 else (image.yres, image.xres),
        format=header.format,
        warnings=tuple(warning for warning in warnings if warning),
    )


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


def _decode(file: BinaryIO, header: Header, *, tolerant: bool) -> tuple[Samples, Samples | None, str]:
    """Pixels, alpha and, if the decoder only gives them when it may pass over warnings, what it warns of."""
    try:
        return *_decode_once(_load(file, header.format, fail_on="warning"), header), ""
    except pyvips.Error as error:
        if not tolerant:
            raise
        warning = f"the decoder passed over damage: {reason(error)}"
    return *_decode_once(_load(file, header.format), header), warning


def _decode_once(image: pyvips.Image, header: Header) -> tuple[Samples, Samples | None]:
    """Pixels and alpha, upright: strip by strip into their final place, so that nothing exists twice."""
    if image.interpretation == "cmyk":
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=header.depth)
    shape, dtype = (header.height, header.width), np.dtype(np.uint8 if header.depth == 8 else np.uint16)
    pixels: Samples = np.empty(shape if header.grey else (*shape, 3), dtype)
    alpha: Samples | None = np.empty(shape, dtype) if header.has_alpha else None
    region = pyvips.Region.new(image)
    rows = max(16, _STRIP_BYTES // (image.width * image.bands * dtype.itemsize))  # by the row, tiles would be slow
    for top in range(0, image.height, rows):
        count = min(rows, image.height - top)
        strip = np.frombuffer(region.fetch(0, top, image.width, count), dtype).reshape(count, image.width, image.bands)
        colours = strip[:, :, 0] if header.grey else strip[:, :, :3]
        _as_stored(pixels, header.orientation)[top : top + count] = colours
        if alpha is not None:
            _as_stored(alpha, header.orientation)[top : top + count] = strip[:, :, -1]
    return pixels, alpha


def _as_stored(upright: Samples, orientation: int) -> Samples:
    """A view of `upright` in the rows and columns of a file of this EXIF orientation."""
    view = upright.swapaxes(0, 1) if orientation >= 5 else upright
    return view[:: -1 if orientation in (3, 4, 6, 7) else 1, :: -1 if orientation in (2, 3, 7, 8) else 1]
