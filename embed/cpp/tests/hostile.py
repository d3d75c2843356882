"""Sidecars and ONNX models that somebody or something changed, and small sound ones to begin with."""

import dataclasses
import functools
import json
import operator
import random
import re

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from specs import ENGINE, HOSTILE, changed, paths

from gpsr_deploy.spec import Costs, SRSpec

VALID = json.dumps(ENGINE, indent=2)
QUALITY = {"loss_db": {"bf16": 0.008, "int8": -0.25}, "float_layers": ["head", "body.0.conv"]}
ODD_TOKENS = [
    *("", "1e400", "-0", "1e-400", "01", "1.", ".5", "NaN", "9" * 30, "9" * 5000, "1E+2", "true", "[" * 2000),
    *('"\\ud800"', '"\\ud83d\\ude00"', '"\\u00e9"', '"a\\/b"', '"\\x"', '"\\u12"', '"\t"'),
]
ODD_BYTES = [
    *(
        b"0",
        b'"',
        b"\\u0000",
        b"\xef\xbb\xbf",
        b"\xc3\xa9",
        b"\xf0\x9f\x98\x80",
        b"\xe2\x80\xae",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
    ),
]

PLAUSIBLE = [
    *(0, 1, 2, 3, 4, 8, 48, 0.25, 0.75, 4.0, 1e17, "8.9", "1.2.3.4", "fp16", "int8", "whole", "tensorrt", "ab" * 32),
    *([3, 3], [96, 120], ["head", "tail"], None),
]
"""Values that are right in one place or another."""


def another_value(draw, valid):
    """JSON with another value somewhere."""
    path = draw.choice(list(paths(valid)))
    return json.dumps(changed(path, draw.choice(draw.choice([HOSTILE, PLAUSIBLE])), within=valid))


def other_keys(draw, valid):
    """JSON with a key less or more somewhere."""
    inside = {(): valid} | {path: functools.reduce(operator.getitem, path, valid) for path in paths(valid)}
    path = draw.choice([path for path, inner in inside.items() if isinstance(inner, dict)])
    inner = dict(inside[path])
    if draw.random() < 0.3:
        del inner[draw.choice(list(inner))]
    else:
        inner[draw.choice(["a", "sr", "fp32", "bf16", "other", "min", "\u00e9"])] = draw.choice([*HOSTILE, 0, 1])
    return json.dumps(changed(path, inner, within=valid) if path else inner)


def other_tokens(draw, valid):
    """JSON with other tokens, which may be none."""
    known = re.findall(r'"[^"]*"|[\[\]{}:,]|[^\s\[\]{}:,"]+', json.dumps(valid))
    tokens = list(known)
    for _ in range(draw.randint(1, 2)):
        tokens[draw.randrange(len(tokens))] = draw.choice(known + ODD_TOKENS)
    return draw.choice([" ", "", "\n", "\r\t"]).join(tokens)


def other_bytes(draw, content, odd):
    """`content` with a few bytes flipped, replaced, removed or added."""
    content = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(content) or 1)
        match draw.randrange(4):
            case 0 if content:
                content[place] ^= 1 << draw.randrange(8)
            case 1:
                content[place : place + 1] = draw.choice(odd)
            case 2:
                del content[place : place + draw.choice([1, 1, 1, 5, 5000])]
            case _:
                content[place:place] = draw.choice(odd)
    return bytes(content)


def mutants(count, *, seed=0, valid=ENGINE):
    """What somebody or something made of a sidecar, or of other JSON that is valid; no two the same."""
    draw, made = random.Random(seed), {}
    while len(made) < count:
        kind = draw.choice([another_value, other_keys, other_tokens, None])
        content = (
            other_bytes(draw, json.dumps(valid, indent=2).encode(), ODD_BYTES)
            if kind is None
            else kind(draw, valid).encode("utf-8", "surrogatepass")
        )
        made[content] = None
    return list(made)


DOUBLE = SRSpec(
    name="double", scale=2, halo=0, multiple_of=1, tiling="aligned", dtype="fp32", checkpoint_sha256="0" * 64
)
COSTS = Costs(params=1, macs_720p=1.0, activation_bytes=400)


def value(name, kind=TensorProto.FLOAT, shape=("n", 3, "h", "w")):
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def tiny(*, between=(), initializers=(), spec=DOUBLE, opset=18, **changes):
    """A small model of scale 2 that repeats each pixel; `between` maps `lr` to `x` before that."""
    nodes = [
        *(between or [helper.make_node("Identity", ["lr"], ["x"])]),
        helper.make_node("Concat", ["x"] * 4, ["four"], axis=1),
        helper.make_node("DepthToSpace", ["four"], ["sr"], blocksize=2),
    ]
    graph = helper.make_graph(
        nodes, "tiny", changes.get("inputs", [value("lr")]), changes.get("outputs", [value("sr")]), list(initializers)
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="test", ir_version=10
    )
    helper.set_model_props(
        model,
        {"gpsr.spec": spec.to_json(), "gpsr.costs": json.dumps(dataclasses.asdict(COSTS))} | changes.get("props", {}),
    )
    return model


def with_weights(tensor, **changes):
    """A model that adds `tensor` to its input."""
    tensor.name = "w"
    return tiny(between=[helper.make_node("Add", ["lr", "w"], ["x"])], initializers=[tensor], **changes)


def with_quality(quality=QUALITY, **changes):
    """A model that says what lower precisions cost."""
    return tiny(props={"gpsr.quality": json.dumps(quality)}, **changes)


def weights(values, kind=np.float32):
    """A tensor."""
    return numpy_helper.from_array(np.array(values, kind))


def outside(tensor, **entries):
    """The tensor with its values in another file, which `entries` name."""
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in entries.items():
        tensor.external_data.add(key=key, value=text)
    tensor.ClearField("raw_data")
    return tensor


def edited(model, edit):
    """What `edit` was done to."""
    edit(model)
    return model


def hostile_models():
    """By name: models that must be refused."""
    nan = float("nan")
    constant = helper.make_node("Constant", [], ["w"], value=weights([1, nan]))
    elsewhere = helper.make_node("Constant", [], ["w"], value=outside(weights([1.0]), location="x"))
    add = helper.make_node("Add", ["lr", "w"], ["x"])
    body = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "body", [value("a")], [value("b")])
    branch = helper.make_node("If", ["c"], ["x"], then_branch=body, else_branch=body)
    return {
        "external data": with_weights(outside(weights([1.0]), location="../secret")),
        "external data without a name": with_weights(outside(weights([1.0]))),
        "external data, unused": with_weights(edited(weights([1.0]), lambda w: w.external_data.add(key="location", value="/x"))),
        "external data in a constant": tiny(between=[elsewhere, add]),
        "NaN, raw": with_weights(weights([1, nan])),
        "infinity, fp16": with_weights(weights([1, float("inf")], np.float16)),
        "NaN, fp64": with_weights(weights([1, nan], np.float64)),
        "NaN, as floats": with_weights(helper.make_tensor("w", TensorProto.FLOAT, [2], [1, nan])),
        "NaN, halves as integers": with_weights(TensorProto(data_type=TensorProto.FLOAT16, dims=[2], int32_data=[1, 0x7E00])),
        "NaN, as doubles": with_weights(helper.make_tensor("w", TensorProto.DOUBLE, [2], [1, nan])),
        "NaN in a constant": tiny(between=[constant, add]),
        "another domain": tiny(between=[helper.make_node("Relu", ["lr"], ["x"], domain="com.microsoft")]),
        "control flow": tiny(between=[branch]),
        "an operator of no network": tiny(between=[helper.make_node("Tile", ["lr", "r"], ["x"])]),
        "functions": edited(tiny(), lambda m: m.functions.add(name="f", domain="d")),
        "another input": tiny(inputs=[value("lr"), value("other")]),
        "another output": tiny(outputs=[value("sr"), value("four", shape=("n", 12, "h", "w"))]),
        "another name": tiny(outputs=[value("hr")]),
        "fp16 in": tiny(inputs=[value("lr", TensorProto.FLOAT16)]),
        "one size": tiny(inputs=[value("lr", shape=("n", 3, 64, 64))]),
        "no shape": tiny(inputs=[helper.make_tensor_value_info("lr", TensorProto.FLOAT, None)]),
        "no graph": edited(tiny(), lambda m: m.ClearField("graph")),
        "no nodes": edited(tiny(), lambda m: m.graph.ClearField("node")),
        "no spec": edited(tiny(), lambda m: m.ClearField("metadata_props")),
        "another key": tiny(props={"\x1b[2J": "x"}),
        "a spec twice": edited(tiny(), lambda m: m.metadata_props.add(key="gpsr.spec", value=DOUBLE.to_json())),
        "a spec out of range": tiny(props={"gpsr.spec": DOUBLE.to_json().replace("2", "3", 1)}),
        "costs of none": tiny(props={"gpsr.costs": "{}"}),
        "a quality of none": with_quality({}),
        "a quality without layers": with_quality({"loss_db": {"bf16": 0.008}}),
        "a quality of another type": with_quality(QUALITY | {"loss_db": {"fp16": 0.008}}),
        "a quality that is no number": with_quality(QUALITY | {"loss_db": {"bf16": "0.008"}}),
        "a quality beyond all": with_quality(QUALITY | {"loss_db": {"int8": 10_001}}),
        "a quality of hostile names": with_quality(QUALITY | {"float_layers": ["\x1b[2J"]}),
        "a quality twice": edited(with_quality(), lambda m: m.metadata_props.add(key="gpsr.quality", value=json.dumps(QUALITY))),
        "a wrong checksum": tiny(props={"gpsr.sha256": "0" * 64}),
        "no checksum at all": tiny(props={"gpsr.sha256": "../x"}),
        "a checksum without a value": edited(tiny(), lambda m: m.metadata_props.add(key="gpsr.sha256")),
        "a key without a value": edited(tiny(), lambda m: m.metadata_props[0].ClearField("value")),
        "a value without a key": edited(tiny(), lambda m: m.metadata_props.add(value="x")),
        "a lost checksum": edited(tiny(), lambda m: setattr(m, "producer_name", "gpsr-deploy")),
    }  # fmt: skip


def mutated_models(count, *, seed=5):
    """Small models that somebody or something changed in a few bytes."""
    draw, tensor = random.Random(seed), weights([0.25, 0.5])
    valid = [with_weights(tensor), with_weights(tensor, props={"gpsr.quality": json.dumps(QUALITY)})]
    for _ in range(count):
        yield other_bytes(
            draw, draw.choice(valid).SerializeToString(), [draw.randbytes(size) for size in (1, 1, 2, 3, 6)]
        )
