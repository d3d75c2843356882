"""A picture: arrays that fit each other, contiguous and its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import PHOTO, RGBA, SHAPES, pil, stored

from gpsr_deploy.media import images
from gpsr_deploy.media.images import Picture


def test_arrays_are_contiguous_and_their_own(tmp_path: Path) -> None:
    picture = images.read(stored(tmp_path, pil(RGBA, "PNG")))
    for array in (picture.pixels, picture.alpha):
        assert array is not None and array.flags.c_contiguous and array.flags.writeable and array.base is None


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
