"""ONNX files, which are hostile input too: what passes into the runtime from C++, and what does not."""

import dataclasses
import json
import random

import numpy as np
import onnx
import pytest
from cpp import (
    DOUBLE,
    QUALITY,
    edited,
    hostile_models,
    mutants,
    mutated_models,
    probe,
    tiny,
    value,
    weights,
    with_quality,
    with_weights,
)
from onnx import TensorProto, helper, numpy_helper

from gpsr_deploy import models
from gpsr_deploy.errors import GpsrError
from gpsr_deploy.model_files import onnx as onnx_file


def python_onnx(content):
    try:
        model = onnx_file.check(content)
    except GpsrError as error:
        return error
    stated = [dataclasses.asdict(one) for one in (model.spec, model.costs, model.quality)]
    return json.loads(json.dumps(stated))  # in which a tuple is a list


@pytest.mark.parametrize("name", list(hostile_models()))
def test_a_hostile_model_is_refused_as_in_python(built, name):
    content = hostile_models()[name].SerializeToString()
    (line,) = probe(built, "onnx", [content])
    assert isinstance(python_onnx(content), GpsrError), "this test's model is not hostile"
    assert line.startswith("error[5] "), line
    assert line.isprintable()


def test_graphs_beside_the_graph_are_refused_whatever_is_in_them(built):
    """Python looks into them. Here nobody does."""
    node = helper.make_node("Identity", ["lr"], ["x"])
    inner = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "inner", [value("a")], [value("b")])
    node.attribute.append(helper.make_attribute("g", inner))
    untyped = onnx.NodeProto.FromString(node.SerializeToString())
    untyped.attribute[0].ClearField("type")
    cases = [tiny(between=[node]), tiny(between=[untyped]), edited(tiny(), lambda m: m.training_info.add())]
    for line in probe(built, "onnx", [case.SerializeToString() for case in cases]):
        assert line.startswith("error[5] "), line


def test_sound_models_are_taken_and_say_of_themselves_what_python_reads(built):
    cases = [path.read_bytes() for path in models.files()] + [
        tiny().SerializeToString(),
        with_weights(weights([0.25])).SerializeToString(),
        with_quality().SerializeToString(),
        with_quality({"loss_db": {}, "float_layers": []}).SerializeToString(),
        tiny(spec=dataclasses.replace(DOUBLE, dtype="int8")).SerializeToString(),
    ]
    for case, line in zip(cases, probe(built, "onnx", cases), strict=True):
        assert json.loads(line) == python_onnx(case)


def test_a_mutated_quality_or_costs_are_refused_in_the_words_of_python(built):
    texts = [text.decode("utf-8", "replace") for text in mutants(150, valid=QUALITY)]
    texts += [json.dumps(QUALITY), "", " " * 70_000]
    models = [tiny(props={key: text}) for key in ("gpsr.quality", "gpsr.costs") for text in texts]
    cases, taken = [model.SerializeToString() for model in models], 0
    for case, line in zip(cases, probe(built, "onnx", cases), strict=True):
        expected = python_onnx(case)
        if isinstance(expected, GpsrError):
            assert line == str(expected)
            assert "is garbled" in line
        else:
            assert json.loads(line) == expected
            taken += 1
    assert 5 < taken < 100


def test_two_graphs_two_tensors_or_two_types_are_no_model(built):
    """Of a message that stands there twice readers make one: what was looked at is not what would run."""
    content = with_weights(weights([1.0])).SerializeToString()
    model = onnx.ModelProto.FromString(content)
    node = helper.make_node("Constant", [], ["w"], value=TensorProto(data_type=TensorProto.FLOAT, dims=[1]))
    attribute = node.attribute[0].SerializeToString()
    halves = attribute + onnx.AttributeProto(t=TensorProto(raw_data=b"\0\0\xc0\x7f")).SerializeToString()
    assert np.isnan(numpy_helper.to_array(onnx.AttributeProto.FromString(halves).t)).all()
    twice = tiny(between=[helper.make_node("Add", ["lr", "w"], ["x"])])
    inner = node.SerializeToString().replace(attribute, halves)
    inner = (
        inner[: inner.index(halves) - 1] + bytes([len(halves)]) + halves + inner[inner.index(halves) + len(halves) :]
    )
    node = onnx.NodeProto.FromString(inner)
    assert len(node.attribute) == 1
    graph = twice.graph.SerializeToString() + b"\x0a" + bytes([len(inner)]) + inner
    body = onnx.ModelProto.FromString(twice.SerializeToString())
    body.ClearField("graph")
    merged = body.SerializeToString() + b"\x3a" + length(len(graph)) + graph
    cases = [content + onnx.ModelProto(graph=model.graph).SerializeToString(), merged]
    for line in probe(built, "onnx", cases):
        assert line.startswith("error[5] this is no ONNX file, or a damaged one")


def length(size):
    """As a protocol buffer's varint."""
    return bytes([size]) if size < 0x80 else bytes([0x80 | size & 0x7F]) + length(size >> 7)


def test_a_flipped_bit_anywhere_in_a_model_that_ships_is_found(built):
    content, draw = models.shipped(4).read_bytes(), random.Random(4)
    cases = []
    for place in [*range(60), *draw.sample(range(len(content)), 40)]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        cases.append(bytes(flipped))
    cases += [content[:size] for size in (0, 1, 100, len(content) // 2, len(content) - 1)]
    for line in probe(built, "onnx", cases):
        assert line.startswith("error[5] "), line


def test_mutated_models_are_at_least_as_refused_as_in_python(built):
    """But for what needs all of ONNX to find, which the runtime has: text that is no UTF-8, opsets, sizes of weights."""
    cases, taken = list(mutated_models(1500)), 0
    for case, line in zip(cases, probe(built, "onnx", cases), strict=True):
        assert line.isprintable()
        if line.startswith("error[5] "):
            continue
        expected = python_onnx(case)
        taken += 1
        if isinstance(expected, GpsrError):
            left = ("no ONNX file, or a damaged one", "of opset", "NaN or infinity")
            assert any(words in expected.found for words in left), (expected, line)
        else:
            assert json.loads(line) == expected
    assert taken > 20
