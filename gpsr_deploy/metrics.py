"""PSNR and SSIM as the field reports them: on Y of YCbCr (BT.601, limited range), 8-bit, with a shaved border."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpsr_deploy.errors import BackendUnavailable


def luma(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What is compared, (H, W): Y of BT.601 in [16, 235] of an (H, W, 3) RGB picture, unrounded; a grey (H, W) one as it is.

    Published figures take grey pictures of a set (Set14 has one) without the range compression of Y.
    """
    values = image.astype(np.float64)
    if values.ndim == 2:
        return values
    weighted: NDArray[np.float64] = values @ np.array([65.481, 128.553, 24.966]) / 255.0
    return weighted + 16.0


def psnr(sr: NDArray[np.uint8], hr: NDArray[np.uint8], *, shave: int) -> float:
    """Peak signal-to-noise ratio on Y in dB; infinite for equal pictures. `shave` SR pixels are cut from each side."""
    error = float(np.mean((_shaved(luma(sr), shave) - _shaved(luma(hr), shave)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def ssim(sr: NDArray[np.uint8], hr: NDArray[np.uint8], *, shave: int) -> float:
    """Structural similarity on Y (Wang et al. 2004: Gaussian window of 11x11, sigma 1.5). Needs scikit-image."""
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise BackendUnavailable(
            "scikit-image is not installed", expected="it for SSIM", remedy="pip install gpsr-deploy[train]"
        ) from error
    value = structural_similarity(  # type: ignore[no-untyped-call,unused-ignore]
        _shaved(luma(sr), shave),
        _shaved(luma(hr), shave),
        data_range=255.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


def _shaved(plane: NDArray[np.float64], shave: int) -> NDArray[np.float64]:
    height, width = plane.shape
    return plane[shave : height - shave, shave : width - shave]
