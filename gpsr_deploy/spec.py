"""What a network does, as frozen values that go in and out of JSON. Standard library only."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

from gpsr_deploy.errors import ModelRefused

MAX_JSON_BYTES = 64 * 1024
"""A spec is a few hundred bytes; anything near this limit is not one."""

Tiling = Literal["aligned", "whole"]
"""`aligned`: tiles may be cut at multiples of `multiple_of`; `whole`: the network needs the whole picture at once."""

Dtype = Literal["fp32", "fp16", "int8"]
"""The type that a model's file holds the network in. Inputs and outputs are float32 in any case."""

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""What a network is computed in: the type of its file, or bf16, in which processors can run a file in fp32."""

INPUT, OUTPUT = "lr", "sr"
"""Names of a graph's input and output."""

EngineRuntime = Literal["tensorrt", "tensorrt-rtx"]
"""The libraries that build and run plans."""

ENGINE_RUNTIMES: tuple[EngineRuntime, ...] = get_args(EngineRuntime)

WEIGHT_TYPES = ("fp32", "fp16", "bf16", "int8", "other")
"""How EngineSpec.weights names types."""

MAX_SIDE = 1 << 16
"""LR pixels; no engine takes more."""

MAX_MACS = 1e18
"""For one picture; like MAX_DB far above all there is, and far below what no float holds."""

MAX_DB = 1e4
"""Float32 values that differ at all are less than 1000 dB apart."""

MAX_LOSS_DB = 0.05
"""PSNR that a lower precision may cost where nobody asked for it, and that export/quantize.py allows unless told otherwise."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){3}")
_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]")


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
    """What the file holds the network in."""
    checkpoint_sha256: str
    """SHA-256 of the checkpoint file that the weights came from, 64 lower-case hexadecimal digits."""

    def __post_init__(self) -> None:
        _require(_is_name(self.name), "name", self.name, "1 to 100 printable characters")
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
            _is_sha256(self.checkpoint_sha256),
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
        return cls(**_fields(cls, _parsed(text), "the spec"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What running a network costs, counted from its graph when it was exported."""

    params: int
    """Numbers in the weights."""
    macs_720p: float
    """Multiply-adds of all convolutions for one 1280x720 SR picture."""
    activation_bytes: int
    """Largest sum of float32 tensors that are alive at once, per LR pixel."""

    def __post_init__(self) -> None:
        whole = all(type(value) is int and value > 0 for value in (self.params, self.activation_bytes))
        whole = whole and self.params < 1 << 31 and self.activation_bytes <= 1 << 24
        if not whole or type(self.macs_720p) not in (int, float) or not 0 < self.macs_720p <= MAX_MACS:
            raise ModelRefused("the costs are no costs", expected="numbers above zero and within reason")

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The costs in `text`. Raises ModelRefused for anything but one JSON object of exactly these fields."""
        return cls(**_fields(cls, _parsed(text), "the costs"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What lower precisions cost of a model's quality, measured where its file was made."""

    loss_db: dict[str, float] = field(hash=False)
    """PSNR on Y against HR, in dB, that is lost to the fp32 model, by precision: `bf16` (of a file in fp32) or `int8`."""
    float_layers: tuple[str, ...] = ()
    """The convolutions of an int8 model that stay in floating point."""

    def __post_init__(self) -> None:
        losses = isinstance(self.loss_db, dict) and all(
            name in ("bf16", "int8") and type(loss) in (int, float) and -MAX_DB <= loss <= MAX_DB
            for name, loss in self.loss_db.items()
        )
        _require(losses, "loss_db", self.loss_db, "decibels by precision, bf16 or int8")
        layers = isinstance(self.float_layers, tuple) and len(self.float_layers) <= 1000
        layers = layers and all(map(_is_name, self.float_layers))
        _require(layers, "float_layers", self.float_layers, "names of layers")

    def keeps(self, precision: Precision) -> bool:
        """Whether this precision was measured, and loses no more than MAX_LOSS_DB."""
        return self.loss_db.get(precision, MAX_DB) <= MAX_LOSS_DB

    def to_json(self) -> str:
        """One line of JSON with every field, keys in the order of the class."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The quality in `text`. Raises ModelRefused for anything but one JSON object of exactly these fields."""
        values = _fields(cls, _parsed(text), "the quality")
        return cls(**{name: _as_tuple(value) for name, value in values.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The batches an engine takes: (height, width) in LR pixels between `min` and `max`, at best `opt`; up to `batch` at once."""

    min: tuple[int, int]
    opt: tuple[int, int]
    max: tuple[int, int]
    batch: int

    def __post_init__(self) -> None:
        for size in (self.min, self.opt, self.max):
            pair = isinstance(size, tuple) and len(size) == 2 and all(type(side) is int for side in size)
            _require(pair, "a size of the profile", size, "height and width")
        for low, best, high in zip(self.min, self.opt, self.max, strict=True):
            if not 0 < low <= best <= high <= MAX_SIDE:
                raise ModelRefused(
                    f"the profile's sizes are {self.min}, {self.opt}, {self.max}",
                    expected=f"0 < min <= opt <= max <= {MAX_SIDE}",
                )
        _require(type(self.batch) is int and 1 <= self.batch <= 1024, "the profile's batch", self.batch, "1 to 1024")

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether a batch of this (height, width) is within the limits."""
        return all(low <= side <= high for low, side, high in zip(self.min, size, self.max, strict=True))

    def nearest(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) within the limits that is nearest to `size`."""
        height, width = (min(max(side, low), high) for side, low, high in zip(size, self.min, self.max, strict=True))
        return height, width

    def either_way_up(self) -> Profile:
        """The sizes that are within the limits both as they are and turned by 90 degrees. Raises ModelRefused for none."""
        low, high = max(self.min), min(self.max)
        if low > high:
            raise ModelRefused(
                f"the engine takes {self.min} to {self.max}",
                expected="sizes that it also takes turned by 90 degrees",
                remedy="an engine of another profile, or no self-ensemble",
            )
        height, width = (min(max(side, low), high) for side in self.opt)
        return Profile(min=(low, low), opt=(height, width), max=(high, high), batch=self.batch)

    def require_multiples(self, multiple_of: int) -> None:
        """Raises ModelRefused where a size is none that a network of this `multiple_of` can run."""
        if any(side % multiple_of for side in (*self.min, *self.opt, *self.max)):
            raise ModelRefused(
                f"the profile's sizes are {self.min}, {self.opt}, {self.max}",
                expected=f"multiples of {multiple_of}, which is all that the network can run",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far an engine is from the ONNX model that it was built from, measured on the GPU that it ran on."""

    images: int
    psnr_db: float | None
    """Over all channels, peak 1; None where all values are equal."""
    max_level: int
    """Largest difference of 8-bit levels."""
    share_off_by_one: float
    """Share of pixels of which a channel is off by one 8-bit level or more."""
    gpu: str
    """Name of the GPU."""

    def __post_init__(self) -> None:
        images = type(self.images) is int and 0 < self.images < 1 << 31
        _require(images, "parity.images", self.images, "1 or more, within reason")
        psnr = self.psnr_db is None or (type(self.psnr_db) in (int, float) and 0 <= self.psnr_db <= MAX_DB)
        _require(psnr, "parity.psnr_db", self.psnr_db, "decibels")
        level = type(self.max_level) is int and 0 <= self.max_level <= 255
        _require(level, "parity.max_level", self.max_level, "0 to 255")
        share = type(self.share_off_by_one) in (int, float) and 0 <= self.share_off_by_one <= 1
        _require(share, "parity.share_off_by_one", self.share_off_by_one, "0 to 1")
        _require(_is_name(self.gpu), "parity.gpu", self.gpu, "1 to 100 printable characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What a built engine is, for what and from what: the sidecar of a plan. Checked at birth like SRSpec."""

    sr: SRSpec
    costs: Costs
    profile: Profile
    runtime: EngineRuntime
    runtime_version: str
    """Four numbers, as in the plan's header: `1.7.1.116`."""
    compute_capabilities: tuple[str, ...]
    """GPUs it was built for: `8.9`."""
    weights: dict[str, float]
    """Share of the convolutions' weights by type, as read back from the network that was built."""
    plan_sha256: str
    onnx_sha256: str
    parity: Parity | None
    """None: not compared yet, since the engine has not been where it can run."""

    def __post_init__(self) -> None:
        self.profile.require_multiples(self.sr.multiple_of)
        _require(self.runtime in ENGINE_RUNTIMES, "runtime", self.runtime, " or ".join(ENGINE_RUNTIMES))
        version = isinstance(self.runtime_version, str) and _VERSION.fullmatch(self.runtime_version)
        _require(bool(version), "runtime_version", self.runtime_version, "four numbers with dots between")
        capabilities = isinstance(self.compute_capabilities, tuple) and len(self.compute_capabilities) <= 32
        capabilities = capabilities and all(
            isinstance(one, str) and _CAPABILITY.fullmatch(one) for one in self.compute_capabilities
        )
        capabilities = capabilities and 0 < len(self.compute_capabilities) == len(set(self.compute_capabilities))
        _require(
            capabilities, "compute_capabilities", self.compute_capabilities, "a list like 8.6, 8.9, each of them once"
        )
        weights = isinstance(self.weights, dict) and all(
            kind in WEIGHT_TYPES and type(share) in (int, float) and 0 <= share <= 1
            for kind, share in self.weights.items()
        )
        weights = weights and (not self.weights or math.isclose(sum(self.weights.values()), 1))
        _require(weights, "weights", self.weights, f"shares of {', '.join(WEIGHT_TYPES)} that add up to 1")
        for name in ("plan_sha256", "onnx_sha256"):
            value = getattr(self, name)
            _require(_is_sha256(value), name, value, "64 lower-case hexadecimal digits")

    def to_json(self) -> str:
        """Indented JSON with every field, keys in the order of the classes, and a line's end."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The spec in `text`. Raises ModelRefused for anything but one JSON object of exactly these fields."""
        values = _fields(cls, _parsed(text), "the sidecar")
        values["sr"] = SRSpec(**_fields(SRSpec, values["sr"], "the sidecar's sr"))
        values["costs"] = Costs(**_fields(Costs, values["costs"], "the sidecar's costs"))
        profile = _fields(Profile, values["profile"], "the sidecar's profile")
        values["profile"] = Profile(**{name: _as_tuple(value) for name, value in profile.items()})
        values["compute_capabilities"] = _as_tuple(values["compute_capabilities"])
        if values["parity"] is not None:
            values["parity"] = Parity(**_fields(Parity, values["parity"], "the sidecar's parity"))
        return cls(**values)


def _parsed(text: str) -> object:
    """What `text` holds. Raises ModelRefused where it is no JSON, or far too long for a spec."""
    if len(text) > MAX_JSON_BYTES:
        raise ModelRefused(f"the spec has {len(text)} characters", expected=f"at most {MAX_JSON_BYTES}")
    try:
        found: object = json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ModelRefused("the spec is not JSON", expected="one JSON object") from error
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose keys are all different: of two with one name, readers take one or the other."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _fields(kind: type, found: object, what: str) -> dict[str, Any]:
    """`found` as the fields of the dataclass `kind`. Raises ModelRefused where it has others, or is no object."""
    names = [one.name for one in fields(kind)]
    if not isinstance(found, dict) or set(found) != set(names):
        held = ", ".join(sorted(found)) if isinstance(found, dict) else type(found).__name__
        raise ModelRefused(f"{what} holds {held or 'nothing'}", expected="the keys " + ", ".join(names))
    return found


def _as_tuple(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()


def _require(holds: bool, name: str, found: object, expected: str) -> None:
    if not holds:
        raise ModelRefused(f"the spec says {name} = {found!r}", expected=expected)
