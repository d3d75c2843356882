"""Faults of models: damaged, hostile, of another kind or scale, or not what they say."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from faults import made
from faults.fault import Content, Fault, picture
from gpsr_deploy import models
from gpsr_deploy.model_files import onnx as onnx_file

PHOTO = made.later(made.photo_file, "PNG")
ONNX, TENSORS = "m.onnx", "m.safetensors"
INFER, INSPECT = ["infer", "p.png", "--engine", ONNX, "-q"], ["inspect", ONNX]


def refused(
    id: str,
    clause: str,
    content: Content,
    says: str = "error[5] m.",
    *,
    command: list[str] = INSPECT,
    name: str = ONNX,
    code: int = 5,
    **more: object,
) -> Fault:
    """A model that gives nothing but one line; `infer` would enlarge p.png."""
    command = [name if word in (ONNX, TENSORS) else word for word in command]
    files = {name: content} | ({"p.png": PHOTO} if command[0] == "infer" else {})
    return Fault(id=id, clause=clause, files=files, command=command, code=code, says=says, **more)  # type: ignore[arg-type]


class Trap:
    """Makes a file when it is unpickled, which the runner would find."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch ran",)


PICKLES = [
    *(
        refused(f"a pickle named {name}", "a pickle", made.later(pickle.dumps, Trap()), "error[5] m.", command=INFER, name=name)
        for name in ("m.pth", "m.pt", "m.safetensors", "m.onnx", "m.plan", "m.bin")
    ),
    refused("a name that says nothing", "a damaged model", b"x", "suffix", command=INFER, name="m.txt"),
]  # fmt: skip


# Changes of the model that ships


def weights(change: Callable[[np.ndarray], None], *, last: bool = False) -> Callable[[], bytes]:
    """The model with other numbers in one of its weights: the largest, or the last bias."""

    def make(found: onnx.ModelProto) -> None:
        tensors = [tensor for tensor in found.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
        tensor = (
            [tensor for tensor in tensors if list(tensor.dims) == [3]][-1]
            if last
            else max(tensors, key=lambda tensor: len(tensor.raw_data))
        )
        values = onnx.numpy_helper.to_array(tensor).copy()
        change(values)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    return made.later(made.model, make)


def outside(location: str) -> Callable[[], bytes]:
    """The model with weights that say they lie in another file."""

    def make(found: onnx.ModelProto) -> None:
        tensor = found.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return made.later(made.model, make)


def with_node(node: onnx.NodeProto, domain: str = "") -> Callable[[], bytes]:
    """The model with a node more, whose result nobody uses."""

    def make(found: onnx.ModelProto) -> None:
        found.graph.node.append(node)
        if domain:
            found.opset_import.append(onnx.helper.make_opsetid(domain, 1))

    return made.later(made.model, make)


def stating(text: str, key: str = onnx_file.SPEC_KEY) -> Callable[[], bytes]:
    """The model with other words about itself."""
    return made.later(made.model, lambda found: made.stating(found, text, key))


def first(values: np.ndarray, number: float) -> None:
    """One number of many."""
    values.flat[0] = number


def secret(folder: Path) -> None:
    """A file outside, and links to it beside the model."""
    (folder.parent / "secret").write_bytes(bytes(1 << 16))
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "hard").hardlink_to(folder.parent / "secret")


SPEC = json.loads(made.spec().to_json())
COSTS = {"params": 150_677, "macs_720p": 1.7e10, "activation_bytes": 4000}
OPERATOR = onnx.helper.make_node

GRAPHS = [
    *(refused(f"{id} in the weights", "NaN in weights", weights(lambda values, n=number: first(values, n)), "NaN or infinity") for id, number in {"NaN": np.nan, "infinity": np.inf}.items()),
    refused(
        "NaN in the last bias, and inference", "NaN in weights", weights(lambda values: values.fill(np.nan), last=True), "NaN or infinity",
        command=INFER,
    ),
    refused("a result beyond every number", "a non-finite result", weights(lambda values: values.fill(3e38)), "tile at row 0", command=INFER),
    refused(
        "a result beyond every number, in OpenVINO", "a non-finite result", weights(lambda values: values.fill(3e38)), "tile at row 0",
        command=[*INFER, "--runtime", "openvino"],
    ),
    refused(
        "a result beyond every number, eight times", "a non-finite result", weights(lambda values: values.fill(3e38)), "error[5]",
        command=[*INFER, "-x"],
    ),
    *(
        refused(f"weights outside, {id}", "external data", outside(location), "outside the file", arrange=secret)
        for id, location in {"absolute": "/etc/passwd", "above": "../secret", "by a link": "link", "by a hard link": "hard", "beside": "secret"}.items()
    ),
    *(
        Fault(id=f"weights outside, and {command[0]}", clause="external data", files={"m.onnx": outside("hard"), "p.png": PHOTO, "good.onnx": made.shipped}, arrange=secret, command=command, code=5, says="outside the file")
        for command in (INFER, ["build", ONNX], ["validate", "--engine", ONNX], ["bench", "--engine", "good.onnx", "--vs", ONNX])
    ),
    Fault(
        id="a reference whose weights are outside", clause="external data", files={"m.onnx": outside("hard"), "good.onnx": made.shipped},
        arrange=secret, command=["validate", "--engine", "good.onnx", "--reference", ONNX], code=5, says="outside the file",
    ),
    refused("an operator that is none", "an unknown operator", with_node(OPERATOR("Frobnicate", ["lr"], ["x"])), "Frobnicate"),
    refused(
        "an operator of another domain", "an unknown operator", with_node(OPERATOR("Conv", ["lr"], ["x"], domain="com.evil"), "com.evil"),
        "com.evil",
    ),
    refused("an operator that moves the cursor", "an unknown operator", with_node(OPERATOR("\x1b[2JConv", ["lr"], ["x"])), "\\x1b[2J"),
    refused("an operator that makes a tebibyte", "an unknown operator", with_node(OPERATOR("ConstantOfShape", ["n"], ["x"])), "ConstantOfShape"),
    refused(
        "an opset of the future", "an unknown operator", made.later(made.model, lambda found: setattr(found.opset_import[0], "version", 10_000)),
        "opset",
    ),
    *(refused(f"cut at {share:.1%}", "a damaged model", made.later(lambda share: made.shipped()[: int(len(made.shipped()) * share)], share), command=INFER) for share in (0.0, 0.3, 0.999)),
    refused("flipped in a weight", "a damaged model", lambda: made.flipped(made.shipped(), len(made.shipped()) // 2, 1), "checksum", command=INFER),
    refused("no graph", "a damaged model", lambda: onnx.ModelProto(ir_version=9).SerializeToString(), "no graph"),
    refused("a model of 3 GiB", "a damaged model", b"", "bytes", arrange=lambda folder: os.truncate(folder / ONNX, 3 << 30)),
    refused("a picture named .onnx", "a damaged model", PHOTO),
    refused("no word about itself", "a hostile spec", made.later(made.model, lambda found: found.ClearField("metadata_props")), "gpsr.spec"),
    *(
        refused(f"a spec of {id}", "a hostile spec", stating(text))
        for id, text in {
            "depth 10^5": "[" * 100_000, "a mebibyte": json.dumps(SPEC | {"name": "x" * (1 << 20)}), "nothing": "", "another type": "[]", "NaN": json.dumps(SPEC).replace("24", "NaN"),
            "an escape sequence": json.dumps(SPEC | {"name": "\x1b[2J\x07"}), "a path": json.dumps(SPEC | {"checkpoint_sha256": "../" * 21 + "x"}), "a scale of 3": json.dumps(SPEC | {"scale": 3}),
            "a huge step": json.dumps(SPEC | {"multiple_of": 10**9, "halo": 0}), "a field twice": json.dumps(SPEC)[:-1] + ', "scale": 8}', "a field more": json.dumps(SPEC | {"</script>": 1}),
        }.items()
    ),
    *(
        refused(f"costs of {id}", "a hostile spec", stating(text, onnx_file.COSTS_KEY))
        for id, text in {"nothing": json.dumps(COSTS | {"activation_bytes": 0}), "10^400": json.dumps(COSTS | {"macs_720p": 10**400}), "depth 10^5": "[" * 100_000}.items()
    ),
    refused(
        "another scale, naming both", "another scale", stating(json.dumps(SPEC | {"scale": 8})), "8 times. Expected one for scale 4 (-s 4)",
        command=[*INFER, "-s", "4"],
    ),
    refused(
        "a scale that the network has not", "a model that is not what it says", stating(json.dumps(SPEC | {"scale": 8})), "error[5]", command=INFER,
    ),
    refused(
        "an input of another name", "a model that is not what it says",
        made.later(made.model, lambda found: setattr(found.graph.input[0], "name", "input")), "inputs and outputs",
    ),
    refused(
        "the x8 model for x4", "another scale", lambda: models.shipped(8).read_bytes(), "-s 4",
        command=[*INFER, "-s", "4"],
    ),
    Fault(
        id="a reference of other weights", clause="a model that is not what it says",
        files={"m.onnx": stating(json.dumps(SPEC | {"checkpoint_sha256": "1" * 64})), "good.onnx": made.shipped},
        command=["validate", "--engine", "good.onnx", "--reference", ONNX], code=5, says="weights",
    ),
    Fault(
        id="an intact model, inspected", clause="a damaged model", files={ONNX: made.shipped}, command=INSPECT, code=0, prints="gpsr-nano-x4",
    ),
    Fault(
        id="a foreign model without a checksum says so", clause="a damaged model",
        files={ONNX: made.later(made.model, lambda found: None), "p.png": PHOTO}, command=INFER[:-1], code=0, says="no checksum",
        leaves={"p_x4.png": picture(48, 60)},
    ),
]  # fmt: skip


# safetensors


def tensors(header: object, data: bytes = b"", *, size: int | None = None) -> bytes:
    """A safetensors file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


def checkpoint(change: Callable[[dict], None]) -> bytes:
    """The weights that ship with another header."""
    content = made.checkpoint()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"].pop("gpsr.sha256", None)
    header["__metadata__"]["gpsr.format"] = "1"
    change(header)
    return tensors(header, content[8 + size :])


def renamed(header: dict) -> None:
    """Weights of another network: with other names."""
    for key in [key for key in header if key.startswith("head.")]:
        header[key.replace("head.", "conv_first.")] = header.pop(key)


SAFETENSORS = [
    *(
        refused(f"a header {id}", "a hostile safetensors header", content, command=["inspect", TENSORS], name=TENSORS)
        for id, content in {
            "of 2^62 bytes": tensors(b"{}", size=1 << 62), "of 2^64-1 bytes": tensors(b"{}", size=(1 << 64) - 1), "of nothing": tensors(b""), "of depth 10^5": tensors(b"[" * 100_000), "that is a list": tensors([]),
            "whose offsets overlap": tensors({"a": TENSOR, "b": TENSOR}, bytes(16)), "whose offsets go backwards": tensors({"a": TENSOR | {"data_offsets": [16, 0]}}, bytes(16)),
            "whose offsets leave the file": tensors({"a": TENSOR | {"data_offsets": [0, 1 << 40], "shape": [1 << 38]}}, bytes(16)), "whose shape overflows": tensors({"a": TENSOR | {"shape": [1 << 62, 1 << 62]}}, bytes(16)),
            "with bytes left over": tensors({"a": TENSOR}, bytes(99)), "without ours": tensors({"a": TENSOR}, bytes(16)), "in UTF-16": tensors("{}".encode("utf-16")),
        }.items()
    ),
    refused("no checkpoint but zeros", "a damaged model", bytes(4096), command=["inspect", TENSORS], name=TENSORS),
    refused("a checkpoint that is cut", "a damaged model", lambda: made.checkpoint()[:-1], command=["inspect", TENSORS], name=TENSORS),
    refused(
        "a checkpoint that is flipped", "a damaged model", lambda: made.flipped(made.checkpoint(), -999, 1), "checksum",
        command=["inspect", TENSORS], name=TENSORS,
    ),
    refused(
        "a checkpoint of another format", "a damaged model",
        made.later(checkpoint, lambda header: header["__metadata__"].update({"gpsr.format": "99"})), "format 99", command=["inspect", TENSORS],
        name=TENSORS,
    ),
    refused(
        "a checkpoint of a member that is none", "a damaged model",
        made.later(checkpoint, lambda header: header["__metadata__"].update({"gpsr.member": "\x1b[2Jmega"})), "\\x1b[2Jmega",
        command=["inspect", TENSORS], name=TENSORS,
    ),
    refused(
        "weights of another network, naming the first that lack", "weights of another network", made.later(checkpoint, renamed), "lacks head.",
        command=INFER, name=TENSORS,
    ),
    refused(
        "weights that call themselves another network's", "weights of another network",
        made.later(checkpoint, lambda header: header["__metadata__"].update({"gpsr.member": "lite"})), command=["inspect", TENSORS], name=TENSORS,
    ),
    refused("x4 weights for x8", "another scale", made.checkpoint, "-s 8", command=["infer", "p.png", "--engine", TENSORS, "-s", "8"], name=TENSORS),
    Fault(
        id="an intact checkpoint, inspected", clause="a damaged model", files={TENSORS: made.checkpoint}, command=["inspect", TENSORS], code=0,
        prints="gpsr-nano-x4",
    ),
]  # fmt: skip

FAULTS: list[Fault] = [*PICKLES, *GRAPHS, *SAFETENSORS]
