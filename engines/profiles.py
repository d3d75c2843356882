"""Sizes that engines are built for, by name; (height, width) in LR pixels, multiples of 3."""

from __future__ import annotations

from gpsr_deploy.spec import Profile

PROFILES: dict[str, Profile] = {
    # Pictures of any size, cut into tiles; small ones in one piece.
    "tile": Profile(min=(3, 3), opt=(240, 240), max=(480, 480), batch=4),
    # Video frames in one piece. Smaller ones run too: an engine for one size only gains nothing that is known, and for
    # GPUs of 7.5 TensorRT-RTX 1.7 then stores 139 bytes of zeros for each LR pixel (294 MB at 1080p).
    "540p": Profile(min=(3, 3), opt=(540, 960), max=(540, 960), batch=1),
    "720p": Profile(min=(3, 3), opt=(720, 1281), max=(720, 1281), batch=1),  # 1280 and a column, to the next multiple
    "1080p": Profile(min=(3, 3), opt=(1080, 1920), max=(1080, 1920), batch=1),
}
