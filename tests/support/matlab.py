"""MATLAB's functions from their documented formulas, in numpy: what the degradations are compared with."""

import math

import numpy as np


def imresize(image, scale):
    """MATLAB's imresize(image, 1/scale, 'bicubic') of an (H, W, C) float64 picture, from its source's formulas.

    Rows first: each output is a weighted mean under Keys' kernel (a = -0.5) stretched by `scale`, the picture mirrored at
    its borders with the edge pixel repeated.
    """
    for axis in (0, 1):
        length = image.shape[axis]
        rows = np.zeros((length // scale, length))
        for output in range(length // scale):
            centre = (output + 1) * scale + 0.5 * (1 - scale)  # counted from 1
            taps = math.floor(centre - 2 * scale) + np.arange(4 * scale + 2)
            x = np.abs(centre - taps) / scale
            near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            weights = np.where(x <= 1, near, np.where(x <= 2, far, 0)) / scale
            mirrored = np.concatenate([np.arange(length), np.arange(length)[::-1]])[(taps - 1) % (2 * length)]
            np.add.at(rows[output], mirrored, weights / weights.sum())
        image = np.moveaxis(np.tensordot(rows, image, (1, axis)), 0, axis)
    return image


def imfilter_gaussian(image, size, sigma):
    """imfilter(image, fspecial('gaussian', size, sigma), 'replicate') of an (H, W, C) float64 picture, tap by tap.

    fspecial: exp(-(x^2 + y^2) / (2 sigma^2)) at distances from the middle of the kernel, normalised. imfilter: the
    kernel's origin is its element floor((size + 1) / 2), counted from 1.
    """
    distance = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(distance[:, None] ** 2 + distance[None, :] ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    origin = (size + 1) // 2 - 1
    height, width = image.shape[:2]
    result = np.zeros_like(image)
    for i in range(size):
        rows = np.clip(np.arange(height) + i - origin, 0, height - 1)
        for j in range(size):
            columns = np.clip(np.arange(width) + j - origin, 0, width - 1)
            result += kernel[i, j] * image[np.ix_(rows, columns)]
    return result


def to_8_bit(image):
    """im2uint8 of values around [0, 1], as float64."""
    return np.clip(np.floor(image * 255 + 0.5), 0, 255)
