"""What a network does, as frozen values that go in and out of JSON. Standard library only."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Literal, Self, get_args

from gpsr_deploy.errors import ModelRefused

MAX_JSON_BYTES = 64 * 1024
"""A spec is a few hundred bytes; anything near this limit is not one."""

Tiling = Literal["aligned", "whole"]
"""`aligned`: tiles may be cut at multiples of `multiple_of`; `whole`: the network needs the whole picture at once."""

Dtype = Literal["fp32", "fp16"]
"""The type a network computes in. Inputs and outputs are float32 in any case."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SRSpec:
    """What a super-resolution network does. Checked at birth: an invalid spec raises ModelRefused (exit 5)."""

    name: str
    """Name of the network: family, member and scale, for instance `gpsr-nano-x4`."""
    scale: int
    """SR pixels per LR pixel and axis: 2, 4, 8 or 16."""
    halo: int
    """LR pixels of context per side of a tile: what was measured for these weights, a multiple of `multiple_of`."""
    multiple_of: int
    """Height and width of a batch, and the origin of each tile, are multiples of this many LR pixels."""
    tiling: Tiling
    """Whether pictures may be cut into tiles."""
    dtype: Dtype
    """What the network computes in."""
    checkpoint_sha256: str
    """SHA-256 of the checkpoint file that the weights came from, 64 lower-case hexadecimal digits."""

    def __post_init__(self) -> None:
        _require(
            isinstance(self.name, str) and 0 < len(self.name) <= 100 and self.name.isprintable(),
            "name",
            self.name,
            "1 to 100 printable characters",
        )
        _require(type(self.scale) is int and self.scale in (2, 4, 8, 16), "scale", self.scale, "2, 4, 8 or 16")
        _require(
            type(self.multiple_of) is int and 1 <= self.multiple_of <= 1024,
            "multiple_of",
            self.multiple_of,
            "1 to 1024",
        )
        _require(
            type(self.halo) is int and 0 <= self.halo <= 1024 and self.halo % self.multiple_of == 0,
            "halo",
            self.halo,
            f"a multiple of {self.multiple_of} up to 1024",
        )
        _require(self.tiling in get_args(Tiling), "tiling", self.tiling, " or ".join(get_args(Tiling)))
        _require(self.dtype in get_args(Dtype), "dtype", self.dtype, " or ".join(get_args(Dtype)))
        _require(
            isinstance(self.checkpoint_sha256, str) and _SHA256.fullmatch(self.checkpoint_sha256) is not None,
            "checkpoint_sha256",
            self.checkpoint_sha256,
            "64 lower-case hexadecimal digits",
        )

    def to_json(self) -> str:
        """One line of JSON with every field, keys in the order of the class."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The spec in `text`. Raises ModelRefused for anything but one JSON object of exactly these fields."""
        names = [field.name for field in fields(cls)]
        if len(text) > MAX_JSON_BYTES:
            raise ModelRefused(f"the spec has {len(text)} characters", expected=f"at most {MAX_JSON_BYTES}")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelRefused("the spec is not JSON", expected="one JSON object") from error
        if not isinstance(values, dict) or set(values) != set(names):
            found = ", ".join(sorted(values)) if isinstance(values, dict) else type(values).__name__
            raise ModelRefused(f"the spec holds {found or 'nothing'}", expected="the keys " + ", ".join(names))
        return cls(**values)


def _require(holds: bool, field: str, found: object, expected: str) -> None:
    if not holds:
        raise ModelRefused(f"the spec says {field} = {found!r}", expected=expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The batches an engine takes: (height, width) in LR pixels between `min` and `max`, at best `opt`; up to `batch` at once."""

    min: tuple[int, int]
    opt: tuple[int, int]
    max: tuple[int, int]
    batch: int

    def __post_init__(self) -> None:
        for axis in range(2):
            if not 0 < self.min[axis] <= self.opt[axis] <= self.max[axis]:
                raise ModelRefused(
                    f"the profile's sizes are {self.min}, {self.opt}, {self.max}", expected="0 < min <= opt <= max"
                )
        if self.batch < 1:
            raise ModelRefused(f"the profile's batch is {self.batch}", expected="1 or more")
