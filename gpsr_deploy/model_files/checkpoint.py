"""A checkpoint: weights and their description in one safetensors file, and what makes one unusable.

Reading the description needs no torch; `load` and `save` do.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors

from gpsr_deploy import atomic
from gpsr_deploy.errors import ModelRefused
from gpsr_deploy.model_files import gate
from gpsr_deploy.model_files.gate import CHECKSUM_KEY
from gpsr_deploy.network.family import Config, config_of

if TYPE_CHECKING:
    from torch import Tensor

    from gpsr_deploy.network.gpsr import GPSR

FORMAT_VERSION = "2"
"""Raised when a change makes older readers misunderstand the file."""

WITHOUT_CHECKSUM = "1"
"""The format before: the same, without a checksum."""

AGAIN = "fetch or export the file again"

MAX_BYTES = 2 << 30
"""The largest member of the family is 60 MB; anything over this is not one of ours."""

MAX_HEADER_BYTES = 4 << 20
"""The largest member's header has 200 KB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint says of itself."""

    member: str
    """`gpsr`, `lite` or `nano`."""
    scale: int
    width: int
    """Config.width."""
    blocks: int
    """Config.blocks."""
    params: int
    """Numbers stored, training heads included."""
    macs_720p: float
    """Multiply-adds of the network as trained for one 1280x720 SR picture."""
    dtype: str
    """Type of the stored weights, as safetensors names it: F32 or F16."""
    sha256: str
    """Of the whole file."""
    without: tuple[str, ...] = ()
    """Parts of the network that an ablation left out: Config.without."""
    training: dict[str, Any] = field(default_factory=dict)
    """Provenance: data, steps, minutes, hardware, figures; free-form JSON."""
    warnings: tuple[str, ...] = ()
    """What its user should know of the file, one clause each."""

    @property
    def name(self) -> str:
        """The network's name in specs and errors: `gpsr-nano-x4`, `gpsr-x4`."""
        member = "gpsr" if self.member == "gpsr" else f"gpsr-{self.member}"
        return f"{member}-x{self.scale}" + "".join(f"-without-{part}" for part in self.without)

    @property
    def config(self) -> Config:
        """The numbers of the network."""
        return config_of(self.member, scale=self.scale, without=self.without)


def read_info(path: Path) -> CheckpointInfo:
    """The description of the checkpoint at `path`. Raises InputUnreadable (missing) or ModelRefused (not ours, damaged)."""
    return _info(gate.read(path, most=MAX_BYTES), path)


def _info(content: bytes, path: Path) -> CheckpointInfo:
    """What `content` says of itself, once its structure and its checksum are found to hold."""
    try:
        metadata, shapes, dtypes = _described(content)
        checksum = metadata.get(CHECKSUM_KEY)
        if checksum is not None:
            gate.require_checksum(content, checksum)
        elif metadata.get("gpsr.format") == FORMAT_VERSION:
            raise ModelRefused("the file lost its checksum, so it is damaged", expected=CHECKSUM_KEY, remedy=AGAIN)
    except ModelRefused as error:
        error.path = path
        raise
    params = sum(map(math.prod, shapes))
    try:
        if metadata["gpsr.format"] not in (FORMAT_VERSION, WITHOUT_CHECKSUM):
            raise ModelRefused(
                f"checkpoint format {metadata['gpsr.format']}",
                expected=f"format {FORMAT_VERSION}",
                remedy="a gpsr-deploy of the age of the file",
                path=path,
            )
        found = CheckpointInfo(
            member=metadata["gpsr.member"],
            scale=int(metadata["gpsr.scale"]),
            width=int(metadata["gpsr.width"]),
            blocks=int(metadata["gpsr.blocks"]),
            params=params,
            macs_720p=float(metadata["gpsr.macs_720p"]),
            dtype="+".join(sorted(dtypes)),
            sha256=hashlib.sha256(content).hexdigest(),
            training=json.loads(metadata["gpsr.training"], parse_constant=_no_number),
            without=tuple(filter(None, metadata.get("gpsr.without", "").split(","))),
            warnings=() if checksum else (gate.NO_CHECKSUM,),
        )
        if (found.config.width, found.config.blocks) != (found.width, found.blocks):
            raise ValueError(f"{found.name} with width {found.width} and {found.blocks} blocks")
        if not 0 < found.macs_720p < math.inf or not isinstance(found.training, dict):
            raise ValueError("macs_720p or training")
        return found
    except (KeyError, ValueError, RecursionError) as error:
        raise ModelRefused(
            f"the file's metadata lacks or garbles what a GPSR checkpoint states ({type(error).__name__}: {error})",
            expected="weights that train/train.py wrote",
            path=path,
        ) from error


def load(path: Path) -> tuple[GPSR, CheckpointInfo]:
    """The network in `path`, float32, in evaluation mode, on the CPU. Raises InputUnreadable or ModelRefused."""
    import safetensors.torch

    from gpsr_deploy.network.gpsr import GPSR

    content = gate.read(path, most=MAX_BYTES)
    info = _info(content, path)
    network = GPSR(info.config)
    try:
        fill(network, safetensors.torch.load(content), name=info.name)
    except ModelRefused as error:
        error.path = path
        raise
    return network.eval(), info


def fill(network: GPSR, weights: Mapping[str, Tensor], *, name: str) -> None:
    """Puts `weights` into the network, which errors call `name`. Raises ModelRefused where they are not its own or not finite."""
    import torch

    expected = network.state_dict()
    missing = [key for key in expected if key not in weights or weights[key].shape != expected[key].shape]
    unknown = [key for key in weights if key not in expected]
    if missing or unknown:
        what = f"lacks {', '.join(missing[:3])}" if missing else f"holds {', '.join(unknown[:3])}"
        raise ModelRefused(
            f"the file {what}",
            expected=f"the {len(expected)} tensors of {name}",
            remedy="the checkpoint of this network",
        )
    for key, value in weights.items():
        if value.dtype not in (torch.float32, torch.float16):
            raise ModelRefused(f"the weights {key} are {value.dtype}", expected="float32 or float16")
        if not torch.isfinite(value).all():
            raise ModelRefused(
                f"the weights {key} hold NaN or infinity",
                expected="finite weights",
                remedy="an earlier checkpoint of that training",
            )
    network.load_state_dict({key: value.float() for key, value in weights.items()})


def save(network: GPSR, path: Path, *, member: str, training: dict[str, Any], half: bool = False) -> None:
    """Writes `network` to `path`, whole or not at all; `half` stores float16. Raises OutputUnwritable."""
    import safetensors.torch
    import torch

    from gpsr_deploy.network.sizes import count_macs

    dtype = torch.float16 if half else torch.float32
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in network.state_dict().items()}
    metadata = {
        "gpsr.format": FORMAT_VERSION,
        "gpsr.member": member,
        "gpsr.scale": str(network.config.scale),
        "gpsr.width": str(network.config.width),
        "gpsr.blocks": str(network.config.blocks),
        "gpsr.macs_720p": repr(count_macs(network)),
        "gpsr.training": json.dumps(training),
        CHECKSUM_KEY: gate.CHECKSUM_BLANK,
    }
    if network.config.without:
        metadata["gpsr.without"] = ",".join(network.config.without)
    atomic.write(path, gate.with_checksum(safetensors.torch.save(tensors, metadata=metadata)))


def _described(content: bytes) -> tuple[dict[str, str], list[tuple[int, ...]], set[str]]:
    """Metadata, and shapes and types of the tensors. Raises ModelRefused for what is no safetensors file, or a damaged one."""
    no_safetensors = ModelRefused(
        "this is no safetensors file, or a damaged one", expected="weights that train/train.py wrote", remedy=AGAIN
    )
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(content) - 8):
        raise no_safetensors
    try:
        safetensors.deserialize(content)  # type: ignore[no-untyped-call]  # which finds what overlaps, is missing or left over
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_once, parse_constant=_no_number)
        metadata = header.pop("__metadata__", {})
        shapes = [tuple(entry["shape"]) for entry in header.values()]
        return metadata, shapes, {str(entry["dtype"]) for entry in header.values()}
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise no_safetensors from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which nothing is said twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
