"""Stdin and stdout as streams of frames, and what can be said of frames there."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import BinaryIO

from gpsr_deploy.media.video import tags
from gpsr_deploy.media.video.stream import Format


def standard(descriptor: int) -> BinaryIO:
    """Stdin (0) or stdout (1) as bytes.

    Not Python's own: a thread that waits in one of those for a program that hangs is fatal at the interpreter's end.
    """
    if descriptor == 0:
        return io.BufferedReader(io.FileIO(0, "rb", closefd=False))
    return io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False))


def output_format(source: Format, *, scale: int, keep_matrix: bool) -> Format:
    """The format of a pipe after `scale`: the source's, but for what y4m and raw video cannot say.

    They have no tags, so their reader goes by the size, which has changed: the matrix is what the new size makes it take,
    unless `keep_matrix`, or for BT.2020, which no size means.
    """
    height, width, coding = source.height * scale, source.width * scale, source.coding
    if coding.matrix == "rgb":
        coding = replace(coding, matrix=tags.by_size(height, width), full=False)
    elif not keep_matrix and coding.matrix != "2020":
        coding = replace(coding, matrix=tags.by_size(height, width))
    if coding.chroma == (2, 1):
        coding = replace(coding, chroma=(1, 1))
    return replace(source, height=height, width=width, coding=coding)
