"""Where the project lies, and the data sets beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
DATA = ROOT.parent / "shared" / "data"
"""Set5, Set14 and photographs: there where the project is developed."""
