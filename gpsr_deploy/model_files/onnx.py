"""The spec inside an ONNX file, and what makes such a file unsafe or unusable. Nothing else in the library opens one."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gpsr_deploy.errors import BackendUnavailable, ModelRefused
from gpsr_deploy.model_files import gate
from gpsr_deploy.model_files.gate import CHECKSUM_BLANK, CHECKSUM_KEY, NO_CHECKSUM, require_checksum, with_checksum
from gpsr_deploy.spec import INPUT, OUTPUT, Costs, Quality, SRSpec

try:
    import onnx
    import onnx.numpy_helper
    from google.protobuf.message import DecodeError
except ImportError as error:
    raise BackendUnavailable(
        "onnx is not installed",
        expected="it to read .onnx models",
        remedy="pip install gpsr-deploy[cpu] or gpsr-deploy[openvino]",
    ) from error

SPEC_KEY = "gpsr.spec"
"""Metadata key of the SRSpec, as JSON."""

COSTS_KEY = "gpsr.costs"
"""Metadata key of the Costs, as JSON."""

QUALITY_KEY = "gpsr.quality"
"""Metadata key of the Quality, as JSON; where nothing was measured it is not there."""

MAX_BYTES = 2 << 30
"""Protocol buffers end here."""

REEXPORT = "export it again with export/to_onnx.py"

PRODUCER = "gpsr-deploy"
"""Producer that a stamped model names. It then has a checksum, too; another's may lack one, and says so."""

OPERATORS = frozenset(
    # fmt: off
    (
        "Abs",
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "Conv",
        "DepthToSpace",
        "DequantizeLinear",
        "Div",
        "Identity",
        "LeakyRelu",
        "MaxPool",
        "Mul",
        "Neg",
        "Pad",
        "Pow",
        "QuantizeLinear",
        "Relu",
        "Sigmoid",
        "Slice",
        "Sqrt",
        "Sub",
    )
    # fmt: on
)
"""What the export writes, and what optimisers and quantisers make of that: no control flow, nothing that reads files,
and nothing that makes large tensors of small ones."""

FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """A checked model: its bytes can be handed to any runtime."""

    content: bytes
    sha256: str
    spec: SRSpec
    costs: Costs
    quality: Quality
    """Says nothing of a precision that nobody has measured."""
    warnings: tuple[str, ...] = ()
    """What its user should know of it, one clause each."""


def read(path: Path) -> OnnxModel:
    """The model in `path`. Raises InputUnreadable (cannot be read) or ModelRefused (damaged, unsafe, not one of ours)."""
    content = gate.read(path, most=MAX_BYTES)
    try:
        return check(content)
    except ModelRefused as error:
        error.path = path
        raise


def check(content: bytes) -> OnnxModel:
    """The model in `content`, once it is found to be safe and whole. Raises ModelRefused."""
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise _not_ours("this is no ONNX file, or a damaged one") from error
    if not model.graph.node:
        raise _not_ours("the file holds no graph")
    metadata = _metadata(model)
    if CHECKSUM_KEY in metadata:
        require_checksum(content, metadata[CHECKSUM_KEY])
    elif model.producer_name == PRODUCER:
        raise _not_ours("the file lost its checksum, so it is damaged")
    trained = [graph for info in model.training_info for graph in (info.initialization, info.algorithm)]
    for tensor in itertools.chain.from_iterable(map(_tensors, [model.graph, *trained])):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ModelRefused(
                f"the weights {tensor.name!r} lie outside the file",
                expected="all weights inside the model",
                remedy="save the model with its weights inline",
            )
        if tensor.data_type in FLOATS and not _finite(tensor):
            raise ModelRefused(
                f"the weights {tensor.name!r} hold NaN or infinity", expected="finite weights", remedy=REEXPORT
            )
    _check_operators(model)
    spec = SRSpec.from_json(metadata[SPEC_KEY])
    try:
        costs = Costs.from_json(metadata[COSTS_KEY])
    except ModelRefused as error:
        raise _not_ours(f"the model's {COSTS_KEY} is garbled") from error
    try:
        quality = Quality.from_json(metadata[QUALITY_KEY]) if QUALITY_KEY in metadata else Quality(loss_db={})
    except ModelRefused as error:
        raise _not_ours(f"the model's {QUALITY_KEY} is garbled") from error
    _check_interface(model)
    return OnnxModel(
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        spec=spec,
        costs=costs,
        quality=quality,
        warnings=() if CHECKSUM_KEY in metadata else (NO_CHECKSUM,),
    )


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    """What the model states of itself. Raises ModelRefused where something is missing, or more is there than we know."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if not all(isinstance(text, str) for entry in metadata.items() for text in entry):
        raise _not_ours("the model's metadata is not UTF-8")  # protobuf gives bytes then
    if SPEC_KEY not in metadata or COSTS_KEY not in metadata:
        raise _not_ours(f"the model carries no {SPEC_KEY}")
    unknown = sorted(metadata.keys() - {SPEC_KEY, COSTS_KEY, QUALITY_KEY, CHECKSUM_KEY})
    if unknown or len(metadata) != len(model.metadata_props):
        raise _not_ours(
            f"the model's metadata holds {unknown[0]!r}" if unknown else "the model's metadata says a thing twice"
        )
    return metadata


def _not_ours(found: str) -> ModelRefused:
    return ModelRefused(found, expected="a model that export/to_onnx.py wrote", remedy=REEXPORT)


def convolutions(content: bytes) -> dict[str, str]:
    """Output tensor of each convolution of the network, by the name of the module that holds its weights.

    The same names in fp32 and fp16, whichever branches are kept in fp32.
    """
    found = {}
    for node in onnx.load_model_from_string(content).graph.node:
        if node.op_type == "Conv" and node.input[1].endswith(".weight"):
            name = node.input[1].removesuffix(".weight").removeprefix("network.").replace(".in_fp32", "")
            found[name] = node.output[0]
    return found


def stamped(
    model: onnx.ModelProto, spec: SRSpec, quality: Quality | None = None, *, costs: Costs | None = None
) -> bytes:
    """`model` as bytes, with `spec`, costs, quality and a checksum in the metadata and nothing else: no traces, no paths.

    The costs are measured where none are given.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for graph in _graphs(model.graph):
        for item in [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph]:
            del item.metadata_props[:]
            item.doc_string = ""
    attributes = [attribute for graph in _graphs(model.graph) for node in graph.node for attribute in node.attribute]
    for item in [*attributes, *_tensors(model.graph)]:
        if item.doc_string:  # to clear it would bring an absent tensor into being
            item.doc_string = ""
    del model.metadata_props[:]
    model.doc_string = ""
    model.producer_name, model.producer_version = PRODUCER, ""
    stated_costs = json.dumps(asdict(costs or measure(model, spec.scale)))
    measured = {QUALITY_KEY: quality.to_json()} if quality is not None and quality.loss_db else {}
    stated = {SPEC_KEY: spec.to_json(), COSTS_KEY: stated_costs, **measured, CHECKSUM_KEY: CHECKSUM_BLANK}
    onnx.helper.set_model_props(model, stated)
    return with_checksum(model.SerializeToString())


def measure(model: onnx.ModelProto, scale: int, *, probe: int = 24) -> Costs:
    """Counts the costs of a graph by shape inference on one `probe` x `probe` LR picture; they grow with the area."""
    graph, shapes = _inferred(model, probe)
    last_use = {name: index for index, node in enumerate(graph.node) for name in node.input}
    last_use |= {output.name: len(graph.node) for output in graph.output}
    alive, peak = {INPUT: math.prod(shapes[INPUT])}, 0
    for index, node in enumerate(graph.node):
        alive |= {name: math.prod(shapes[name]) for name in node.output if name in shapes}
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last_use.get(name, -1) > index}
    return Costs(
        params=sum(math.prod(tensor.dims) for tensor in graph.initializer),
        activation_bytes=4 * peak // probe**2,
        macs_720p=sum(_macs(graph, shapes).values()) / (probe * scale) ** 2 * 1280 * 720,
    )


def macs_by_convolution(model: onnx.ModelProto, *, probe: int = 24) -> dict[str, int]:
    """Multiply-adds of each convolution for one `probe` x `probe` LR picture, by the name of the module with its weights."""
    return {name.removesuffix(".weight"): macs for name, macs in _macs(*_inferred(model, probe)).items()}


def _macs(graph: onnx.GraphProto, shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """Multiply-adds of each convolution, by the name of its weights."""
    weights = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    return {node.input[1]: weights[node.input[1]] * math.prod(shapes[node.output[0]][2:]) for node in convolutions}


def _inferred(model: onnx.ModelProto, probe: int) -> tuple[onnx.GraphProto, dict[str, tuple[int, ...]]]:
    """The graph, and the shapes of its tensors, for one `probe` x `probe` LR picture."""
    fixed = onnx.ModelProto.FromString(model.SerializeToString())
    for index, size in enumerate((1, 3, probe, probe)):
        fixed.graph.input[0].type.tensor_type.shape.dim[index].dim_value = size
    for output in fixed.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()
    del fixed.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    return graph, {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}


def _finite(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor can be read and holds finite numbers only."""
    try:
        return bool(np.isfinite(onnx.numpy_helper.to_array(tensor)).all())
    except (ValueError, TypeError):
        return False


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.ByteSize():
                    yield from _graphs(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a graph: initializers, sparse ones, and those in attributes, in subgraphs too."""
    for inner in _graphs(graph):
        yield from inner.initializer
        for sparse in inner.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in inner.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors]:
                    yield from (sparse.values, sparse.indices)


def _check_operators(model: onnx.ModelProto) -> None:
    domains = {entry.domain: entry.version for entry in model.opset_import}
    version = domains.get("", domains.get("ai.onnx", 0))
    if model.functions:
        raise ModelRefused(
            f"the model defines functions of its own ({model.functions[0].name!r})", expected="standard operators"
        )
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.domain not in ("", "ai.onnx"):
                raise ModelRefused(
                    f"operator {node.op_type!r} of domain {node.domain!r}", expected="standard operators"
                )
            if node.op_type not in OPERATORS:
                raise ModelRefused(
                    f"operator {node.op_type!r}", expected=f"those of a GPSR network: {', '.join(sorted(OPERATORS))}"
                )
            if not 1 <= version <= onnx.defs.onnx_opset_version() or not onnx.defs.has(node.op_type, version):
                raise ModelRefused(
                    f"operator {node.op_type!r} of opset {version}",
                    expected=f"operators of opset 1 to {onnx.defs.onnx_opset_version()}",
                )


def _check_interface(model: onnx.ModelProto) -> None:
    weights = {tensor.name for tensor in model.graph.initializer}
    found = [
        (value.name, value.type.tensor_type.elem_type, [dim.dim_value for dim in value.type.tensor_type.shape.dim])
        for value in [*model.graph.input, *model.graph.output]
        if value.name not in weights
    ]
    if found != [(name, onnx.TensorProto.FLOAT, [0, 3, 0, 0]) for name in (INPUT, OUTPUT)]:
        raise ModelRefused(
            f"inputs and outputs are {', '.join(name for name, *_ in found)}",
            expected=f"float32 NCHW, {INPUT!r} in and {OUTPUT!r} out",
        )
