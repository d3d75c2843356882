"""A picture of how far a run is: LR, bicubic, SR, HR and the gradient maps side by side, as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from data import Photograph
from degradations import bicubic_upsample, to_8_bit
from drawing import Figure, FigureCanvasAgg
from gpsr_deploy.media import images
from gpsr_deploy.network.gpsr import GPSR
from gpsr_deploy.network.layers import gradient_map

ROWS = 4
SIDE = 192
"""SR pixels per side of each picture on the sheet: 48 LR pixels at x4, 24 at x8."""

GAP = 4
TITLE_HEIGHT = 20


@torch.no_grad()
def write(path: Path, network: GPSR, photographs: Sequence[Photograph], *, device: torch.device) -> None:
    """The middles of the first photographs, a row each; the column G is the gradient branch's map (Eq. 12)."""
    scale = network.config.scale
    rows, titles = [], ["LR", "bicubic", "SR", "HR", *(["G"] if network.map_heads else []), "g(SR)", "g(HR)"]
    for photograph in photographs[:ROWS]:
        side = min(SIDE // scale, *photograph.lr.shape[1:]) // 3 * 3
        top, left = ((size - side) // 2 for size in photograph.lr.shape[1:])
        lr = photograph.lr[None, :, top : top + side, left : left + side].to(device) / 255.0
        far = (top + side) * scale, (left + side) * scale
        hr = photograph.hr[None, :, top * scale : far[0], left * scale : far[1]].to(device) / 255.0
        sr, maps = network.forward_with_maps(lr)
        row = [F.interpolate(lr, scale_factor=scale), bicubic_upsample(lr, scale), sr, hr]
        row += [*maps[-1:], gradient_map(sr), gradient_map(hr)]
        rows.append([_tile(picture) for picture in row])
    sheet = np.concatenate([_titles(titles), *(np.concatenate(row, axis=1) for row in rows)])
    images.write(path, images.Picture(pixels=sheet), overwrite=True)


def _tile(picture: Tensor) -> NDArray[np.uint8]:
    """(1, 3, H, W) in [0, 1] in the upper left of a square of SIDE and a gap; NaN is shown as black."""
    pixels = to_8_bit(picture.float().nan_to_num(0.0))[0].permute(1, 2, 0).cpu().numpy()
    height, width = pixels.shape[:2]
    framed: NDArray[np.uint8] = np.pad(
        pixels, ((0, SIDE + GAP - height), (0, SIDE + GAP - width), (0, 0)), constant_values=255
    )
    return framed


def _titles(titles: Sequence[str]) -> NDArray[np.uint8]:
    """A strip of text over the columns, (TITLE_HEIGHT, W, 3)."""
    width = len(titles) * (SIDE + GAP)
    figure = Figure(figsize=(width / 100, TITLE_HEIGHT / 100), dpi=100)
    for column, title in enumerate(titles):
        figure.text((column + 0.5 * SIDE / (SIDE + GAP)) / len(titles), 0.5, title, ha="center", va="center", size=9)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:TITLE_HEIGHT, :width, :3].copy()
