"""From rows to an encoded file: what `images` knows about writing. On libvips.

libvips takes rows as they come in one way only: as a file of a format that it reads, through a pipe. Here that is a PNG
whose samples are stored as they are; a thread reads it from the pipe and encodes, while the next rows are made.
"""

from __future__ import annotations

import os
import select
import struct
import traceback
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import pyvips

from gpsr_deploy.errors import OutOfMemory, UsageError
from gpsr_deploy.media.images.picture import Outline, Samples

OutputFormat = Literal["png", "jpeg", "webp", "tiff"]

WAITING_BYTES = 4 << 20
"""Samples up to which a picture is encoded only once all of it is there: more are encoded while the network goes on."""

CODEC_BYTES = 64 << 20
"""What the threads of libvips may ask for."""

_PIECE_BYTES = 1 << 20
_WAIT = 0.05
"""Seconds between looks at an encoder that takes no rows."""


def output_format(path: Path) -> OutputFormat:
    """The format that the suffix of `path` names. Raises UsageError."""
    match path.suffix.lower():
        case ".png":
            return "png"
        case ".jpg" | ".jpeg":
            return "jpeg"
        case ".webp":
            return "webp"
        case ".tif" | ".tiff":
            return "tiff"
    raise UsageError(f"the suffix is {path.suffix!r}", expected=".png, .jpg, .jpeg, .webp, .tif or .tiff", path=path)


class RowWriter:
    """Encodes the rows that it is given into an open file."""

    def __init__(
        self,
        descriptor: int,
        outline: Outline,
        *,
        kind: OutputFormat,
        quality: int,
        refusing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """For a picture of this `outline`, in the file of `descriptor`; `quality`, 1 to 100, is for JPEG and WebP.

        `refusing` makes errors of the system and of libvips into ours.
        """
        self._descriptor = descriptor
        self._outline = outline
        self._kind: OutputFormat = kind
        self._quality = quality
        self._refusing = refusing
        self._rows = 0
        self._deflate = zlib.compressobj(0)
        self._waiting: list[bytes] = []
        self._stack = ExitStack()
        self._pipe = -1
        self._encoder: Future[None] | None = None
        self._image: pyvips.Image | None = None
        channels = 1 if outline.grey else 3
        colour_type = {1: 0, 3: 2}[channels] + 4 * outline.has_alpha
        self._send(b"\x89PNG\r\n\x1a\n")
        self._chunk(
            b"IHDR", struct.pack(">IIBBBBB", outline.width, outline.height, outline.depth, colour_type, 0, 0, 0)
        )

    def write(self, pixels: Samples, alpha: Samples | None = None) -> None:
        """Takes the next rows, (n, W, 3) or (n, W), with alpha (n, W) where the outline has it."""
        outline, count = self._outline, pixels.shape[0]
        wanted = (count, outline.width) if outline.grey else (count, outline.width, 3)
        dtype = np.dtype(np.uint8 if outline.depth == 8 else np.uint16)
        if pixels.shape != wanted or pixels.dtype != dtype or (alpha is not None) != outline.has_alpha:
            raise ValueError(f"rows of {pixels.dtype} {pixels.shape}, expected {dtype} {wanted}")
        channels = (1 if outline.grey else 3) + outline.has_alpha
        at_once = max(1, _PIECE_BYTES // (outline.width * channels * dtype.itemsize))
        for top in range(0, count, at_once):
            piece = pixels[top : top + at_once]
            # Each row is preceded by the number of its filter, 0: as it is. Samples of 16 bits are big-endian.
            line = np.zeros((piece.shape[0], 1 + outline.width * channels * dtype.itemsize), np.uint8)
            samples = line[:, 1:].view(dtype.newbyteorder(">")).reshape(*piece.shape[:2], channels)
            samples[:, :, : channels - outline.has_alpha] = piece.reshape(*piece.shape[:2], -1)
            if alpha is not None:
                samples[:, :, -1] = alpha[top : top + at_once]
            self._chunk(b"IDAT", self._deflate.compress(line.data))
        self._rows += count

    def finish(self) -> None:
        """Waits until the file is encoded."""
        if self._rows != self._outline.height:
            raise ValueError(f"{self._rows} rows were written, expected {self._outline.height}")
        self._chunk(b"IDAT", self._deflate.flush())
        self._chunk(b"IEND", b"")
        if self._encoder is None:
            self._start()
        self._close_pipe()
        self._require_encoder()

    def _chunk(self, kind: bytes, data: bytes) -> None:
        if data or kind != b"IDAT":
            self._send(struct.pack(">I", len(data)) + kind)
            self._send(data)
            self._send(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))

    def _send(self, data: bytes) -> None:
        """To the encoder; the first WAITING_BYTES wait, so that small pictures are encoded when the network is done."""
        if self._encoder is None:
            self._waiting.append(data)
            if sum(map(len, self._waiting)) > WAITING_BYTES:
                self._start()
            return
        rest = memoryview(data)
        while rest:
            if self._encoder.done():
                self._require_encoder()
                return  # it has all rows, and needs no more
            with suppress(BlockingIOError):
                rest = rest[os.write(self._pipe, rest) :]
                continue
            select.select([], [self._pipe], [], _WAIT)

    def _start(self) -> None:
        """Starts the encoder. While C code runs, Python sees no signal: so it runs in a thread, and this one waits in Python."""
        source, self._pipe = os.pipe()
        self._stack.callback(os.close, source)
        os.set_blocking(self._pipe, False)  # so that an encoder that failed is noticed

        def encode() -> None:
            try:
                self._image = _image(source, self._outline, self._kind)
                _save(self._image, self._descriptor, self._kind, self._quality, _kept(self._outline))
            except BaseException as error:
                # An error holds what its frames hold: libvips's own descriptor of the file, and so its place on the disk.
                traceback.clear_frames(error.__traceback__)
                raise

        try:
            np.empty(CODEC_BYTES, np.uint8)  # asked first: where there is no memory libvips ends the process
            pool = self._stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="encode"))
            self._stack.callback(self._close_pipe)  # before the pool waits for its thread
            self._encoder = pool.submit(encode)
        except (MemoryError, RuntimeError) as error:  # the latter: no thread can be started
            self._close_pipe()
            raise OutOfMemory("no memory to encode the picture", remedy="a smaller picture") from error
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._send(data)

    def _require_encoder(self) -> None:
        """Waits for the encoder, and raises what ended it."""
        if self._encoder is not None:
            with self._refusing():
                self._encoder.result()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._image is not None:
            self._image.set_kill(True)
        self._image = None
        self._stack.close()


def _image(source: int, outline: Outline, kind: OutputFormat) -> pyvips.Image:
    """The picture that comes through the pipe, in samples that `kind` has, with its metadata; computed while it is saved."""
    pipe = pyvips.Source.new_from_descriptor(source)
    image = pyvips.Image.pngload_source(pipe, access="sequential", fail_on="error", unlimited=True)
    grey, deep = outline.grey, outline.depth == 16
    if outline.has_alpha and kind == "jpeg":
        white = 65535 if deep else 255
        image = image.flatten(background=white, max_alpha=white)
    if deep and kind in ("jpeg", "webp"):
        image, deep = (image / 257).rint().cast("uchar"), False
    vertical, horizontal = outline.resolution
    meaning = ("grey16" if deep else "b-w") if grey else ("rgb16" if deep else "srgb")
    image = image.copy(interpretation=meaning, xres=horizontal, yres=vertical)
    for name, data in (("icc-profile-data", outline.icc), ("exif-data", outline.exif), ("xmp-data", outline.xmp)):
        if data:
            image.set_type(pyvips.GValue.blob_type, name, data)
    if kind == "webp" and grey and outline.icc:
        return image.icc_transform("srgb", embedded=True)  # WebP is always RGB, for which a grey profile is not
    return image


def _kept(outline: Outline) -> int:
    """The metadata that libvips is to write, as flags. A JPEG's resolution goes into EXIF; else none is invented."""
    exif = outline.exif is not None or outline.resolution != (1.0, 1.0)
    return 0b00001 * exif | 0b00010 * (outline.xmp is not None) | 0b01000 * (outline.icc is not None)


def _save(image: pyvips.Image, descriptor: int, kind: OutputFormat, quality: int, keep: int) -> None:
    target = pyvips.Target.new_to_descriptor(descriptor)
    match kind:
        case "png":
            # For photographs the knee: level 1 saves little time and takes half as much again, more levels save little.
            image.pngsave_target(target, compression=2, filter="up", keep=keep)
        case "jpeg":
            image.jpegsave_target(target, Q=quality, subsample_mode="off", keep=keep)
        case "webp":
            image.webpsave_target(target, Q=quality, effort=2, keep=keep)
        case "tiff":
            raw = image.width * image.height * image.bands * (1 if image.format == "uchar" else 2)
            image.tiffsave_target(target, bigtiff=raw > 0xF000_0000, keep=keep)
