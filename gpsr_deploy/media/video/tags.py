"""Names and numbers of colours: pixel formats as FFmpeg calls them, code points of ITU-T H.273, and guesses by size."""

from __future__ import annotations

from dataclasses import replace

from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.media.video.colour import Coding, Matrix

UNTOLD = 2
"""The code point that says nothing, in each table of H.273."""

PQ, HLG = 16, 18
"""Transfer functions of high dynamic range (ITU-R BT.2100)."""

MATRICES: dict[int, Matrix] = {0: "rgb", 1: "709", 4: "fcc", 5: "601", 6: "601", 7: "240m", 9: "2020"}
"""By H.273's MatrixCoefficients."""

CODE_POINTS: dict[Matrix, int] = {"rgb": 0, "709": 1, "fcc": 4, "601": 6, "240m": 7, "2020": 9}

GUESSED_PRIMARIES: dict[Matrix, int] = {"709": 1, "601": 6, "2020": 9, "240m": 7, "fcc": 4, "rgb": 1}
GUESSED_TRANSFER: dict[Matrix, int] = {"709": 1, "601": 6, "2020": 14, "240m": 7, "fcc": 1, "rgb": 13}

_CHROMA = {"420": (2, 2), "422": (1, 2), "444": (1, 1), "440": (2, 1)}

PLANAR: dict[str, Coding] = {
    f"yuv{name}p{depth}": Coding(matrix="601", full=False, bits=bits, chroma=chroma)
    for name, chroma in _CHROMA.items()
    for bits, depth in ((8, ""), (9, "9le"), (10, "10le"), (12, "12le"))
}
PLANAR |= {
    f"gray{depth}": Coding(matrix="601", full=False, bits=bits, chroma=None)
    for bits, depth in ((8, ""), (9, "9le"), (10, "10le"), (12, "12le"))
}
PLANAR |= {
    f"gbrp{depth}": Coding(matrix="rgb", full=True, bits=bits, chroma=(1, 1))
    for bits, depth in ((8, ""), (9, "9le"), (10, "10le"), (12, "12le"))
}
"""What is read and written plane by plane. Matrix and range of YUV stand in here for those that tags tell."""

FULL = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p", "yuvj440p": "yuv440p"}
"""Names that also say full range, and those that do not."""

REPACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "p010le": "yuv420p10le",
    "rgb24": "gbrp",
    "bgr24": "gbrp",
    "rgb0": "gbrp",
    "bgr0": "gbrp",
    "0rgb": "gbrp",
    "0bgr": "gbrp",
}
"""The same samples in another order, which no conversion changes."""


def coding_of(
    pixel_format: str, *, matrix: int, colour_range: int, height: int, width: int, assumed: Matrix | None = None
) -> tuple[Coding, bool]:
    """How to read frames of `pixel_format` with these tags, and whether the tags tell the matrix.

    `matrix` is H.273's code point, `colour_range` 1 for limited and 2 for full, as FFmpeg numbers it; `assumed` stands in
    for a matrix that is not told, else the size decides. Raises InputUnreadable for what is not read, with a hint.
    """
    name = FULL.get(pixel_format, REPACKED.get(pixel_format, pixel_format))
    if name not in PLANAR:
        remedy = "convert it before, e.g. with ffmpeg -pix_fmt yuv420p"
        if "a" in pixel_format.replace("gray", "") or pixel_format == "pal8":
            raise InputUnreadable(f"frames with alpha ({pixel_format})", expected="opaque ones", remedy=remedy)
        raise InputUnreadable(f"frames of {pixel_format}", expected="YUV or RGB of 8 to 12 bits", remedy=remedy)
    coding = PLANAR[name]
    full = colour_range == 2 or pixel_format in FULL
    if coding.matrix == "rgb":
        return coding, True
    told = MATRICES.get(matrix)
    if matrix not in (UNTOLD, 3) and (told is None or told == "rgb"):
        raise InputUnreadable(
            f"colours in matrix {matrix} of H.273",
            expected="BT.601, BT.709 or BT.2020 with non-constant luminance",
            remedy="convert them before, e.g. with ffmpeg -vf zscale=matrix=2020_ncl",
        )
    found = told or assumed or by_size(height, width)
    return replace(coding, matrix=found, full=full), told is not None


def by_size(height: int, width: int) -> Matrix:
    """The matrix that players take for a film that does not tell: BT.709 from 1280x720 pixels on."""
    return "709" if height >= 720 or width >= 1280 else "601"


def pixel_format(coding: Coding) -> str:
    """FFmpeg's name of frames in this coding."""
    return next(
        name
        for name, other in PLANAR.items()
        if (other.bits, other.chroma, other.matrix == "rgb") == (coding.bits, coding.chroma, coding.matrix == "rgb")
    )
