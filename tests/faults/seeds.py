"""Small pictures of every kind that is read, from which mutants are made."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pyvips

from faults import made


@cache
def seeds(kind: str) -> tuple[bytes, ...]:
    """Those of one format: PNG, JPEG, WEBP, TIFF or GIF; always the same, in the same order."""
    photo = made.photo(23, 29)
    grey = np.ascontiguousarray(photo[:, :, 1])
    rgba = np.dstack([photo, grey])
    deep = photo.astype(np.uint16) * 257
    vips = pyvips.Image.new_from_memory(photo, 29, 23, 3, "uchar").copy(interpretation="srgb")
    exif = made.oriented_exif(6)
    return {
        "PNG": lambda: (
            made.saved(photo, "PNG"),
            made.saved(grey, "PNG"),
            made.saved(rgba, "PNG"),
            made.saved(rgba, "PNG", "LA"),
            made.saved(photo, "PNG", "P"),
            made.saved(photo, "PNG", "P", transparency=bytes(range(256))),
            made.saved(grey, "PNG", "1"),
            made.saved(photo, "PNG", icc_profile=made.srgb(), exif=exif, dpi=(300, 300)),
            cv2.imencode(".png", deep)[1].tobytes(),
            cv2.imencode(".png", deep[:, :, 0])[1].tobytes(),
            vips.pngsave_buffer(interlace=True),
            made.several("PNG"),
        ),
        "JPEG": lambda: (
            made.saved(photo, "JPEG"),
            made.saved(grey, "JPEG"),
            made.saved(photo, "JPEG", "CMYK"),
            made.saved(photo, "JPEG", progressive=True),
            made.saved(photo, "JPEG", subsampling=0, quality=100),
            made.saved(photo, "JPEG", restart_marker_blocks=1),
            made.saved(photo, "JPEG", icc_profile=made.srgb(), exif=exif),
            made.saved(grey, "JPEG", progressive=True, quality=10),
        ),
        "WEBP": lambda: (
            made.saved(photo, "WEBP"),
            made.saved(photo, "WEBP", lossless=True),
            made.saved(rgba, "WEBP"),
            made.saved(rgba, "WEBP", lossless=True, exact=True),
            made.saved(photo, "WEBP", icc_profile=made.srgb(), exif=exif),
            made.several("WEBP"),
        ),
        "TIFF": lambda: (
            made.saved(photo, "TIFF"),
            made.saved(grey, "TIFF"),
            made.saved(rgba, "TIFF"),
            made.saved(photo, "TIFF", "P"),
            made.saved(grey, "TIFF", "1", compression="group4"),
            made.saved(photo, "TIFF", "CMYK"),
            made.saved(photo, "TIFF", compression="tiff_lzw"),
            made.saved(photo, "TIFF", compression="tiff_adobe_deflate"),
            made.saved(photo, "TIFF", compression="packbits"),
            made.saved(photo, "TIFF", compression="jpeg"),
            made.tiff_saved(deep, photometric="rgb"),
            made.tiff_saved(photo, photometric="rgb", bigtiff=True),
            made.tiff_saved(photo, photometric="rgb", byteorder=">"),
            made.tiff_saved(made.photo(40, 50), photometric="rgb", tile=(16, 32)),
            made.tiff_saved(np.ascontiguousarray(np.moveaxis(photo, 2, 0)), photometric="rgb", planarconfig="separate"),
            made.several("TIFF"),
        ),
        "GIF": lambda: (
            made.saved(photo, "GIF", "P"),
            made.saved(grey, "GIF"),
            made.saved(photo, "GIF", "P", transparency=0, interlace=True),
            made.several("GIF", duration=50, loop=0),
            made.several("GIF", disposal=2, transparency=0),
            made.gif(9, 7),
        ),
    }[kind]()  # fmt: skip
