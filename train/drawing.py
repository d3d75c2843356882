"""Matplotlib's figures, imported without leaving a list of fonts in the user's home, where nobody asked for one."""

from __future__ import annotations

import os
import tempfile

SWITCH = "MPLCONFIGDIR"
"""Environment variable that names the folder of matplotlib's caches; what the user has set stays."""

with tempfile.TemporaryDirectory() as _folder:
    _added = SWITCH not in os.environ
    os.environ.setdefault(SWITCH, _folder)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if _added:
        del os.environ[SWITCH]

__all__ = ["Figure", "FigureCanvasAgg"]
