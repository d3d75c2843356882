"""Published figures: Tables 4 and 5 of the paper (Zhu et al., Appl. Sci. 2023, 13, 833), and bicubic's."""

from __future__ import annotations

from dataclasses import dataclass

SETS = ("Set5", "Set14", "BSD100", "Urban100", "Manga109")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method: PSNR in dB and SSIM on Y by set, `scale` pixels shaved."""

    method: str
    scale: int
    degradation: str
    scores: dict[str, tuple[float, float]]


def _row(method: str, scale: int, degradation: str, *scores: tuple[float, float]) -> Row:
    return Row(method=method, scale=scale, degradation=degradation, scores=dict(zip(SETS, scores, strict=False)))


ROWS = (
    _row("bicubic (published)", 4, "bi", (28.42, 0.8104), (26.00, 0.7027), (25.96, 0.6675), (23.14, 0.6577)),
    _row("EDSR (paper)", 4, "bi", (32.46, 0.8968), (28.80, 0.7876), (27.71, 0.7420), (26.64, 0.8033), (31.03, 0.9149)),
    _row("GPSR (paper)", 4, "bi", (32.74, 0.9010), (28.98, 0.7901), (27.81, 0.7441), (26.96, 0.8116), (31.50, 0.9200)),
    _row("GPSR+ (paper)", 4, "bi", (32.82, 0.9022), (29.06, 0.7913), (27.86, 0.7451), (27.14, 0.8150), (31.80, 0.9223)),
    _row("bicubic (published)", 8, "bi", (24.40, 0.658), (23.10, 0.566), (23.67, 0.548), (20.74, 0.516)),
    _row("EDSR (paper)", 8, "bi", (27.22, 0.7840), (25.14, 0.6476), (24.88, 0.6010), (22.70, 0.6314), (24.85, 0.7906)),
    _row("GPSR (paper)", 8, "bi", (27.45, 0.7935), (25.29, 0.6536), (25.00, 0.6059), (23.08, 0.6474), (25.40, 0.8078)),
    _row("GPSR+ (paper)", 8, "bi", (27.52, 0.7956), (25.38, 0.6555), (25.05, 0.6070), (23.23, 0.6518), (25.64, 0.8116)),
    _row("RCAN (paper)", 8, "bd", (26.22, 0.7713), (24.51, 0.6415), (24.28, 0.5933), (22.34, 0.6402), (23.87, 0.7806)),
    _row("GPSR (paper)", 8, "bd", (26.32, 0.7788), (24.60, 0.6464), (24.36, 0.5974), (22.85, 0.6607), (24.25, 0.7950)),
    _row("GPSR+ (paper)", 8, "bd", (26.42, 0.7809), (24.72, 0.6491), (24.42, 0.5987), (23.05, 0.6656), (24.50, 0.7993)),
)
"""What is printed beside our figures. The published bicubic is a row of the field's tables, not of this paper's."""


def rows(*, scale: int, degradation: str) -> list[Row]:
    """The published rows of one protocol."""
    return [row for row in ROWS if (row.scale, row.degradation) == (scale, degradation)]
