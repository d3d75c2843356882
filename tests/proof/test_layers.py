"""Layers: which convolution leaves tolerance first, and the branches that stay in fp32 for it."""

import dataclasses
import math

import cv2
import onnx
import pytest

import to_onnx
from gpsr_deploy.cli import main
from gpsr_deploy.errors import ModelRefused, UsageError
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.model_files.onnx import OnnxModel
from gpsr_deploy.network.folds import fold
from gpsr_deploy.proof import layers, parity
from gpsr_deploy.proof.layers import Layer


@pytest.fixture(scope="module")
def lr():
    return parity.photographs((24, 24))[0]


@pytest.fixture(scope="module")
def model(onnx_path):
    return onnx_file.read(onnx_path)


@pytest.fixture(scope="module")
def half(nano, model, tmp_path_factory):
    """The same network in fp16, but for its tail."""
    graph = to_onnx.to_graph(fold(nano), "fp16", kept=["tail", "decoders.1"])
    path = tmp_path_factory.mktemp("half") / "half_fp16.onnx"
    path.write_bytes(onnx_file.stamped(graph, dataclasses.replace(model.spec, dtype="fp16")))
    return path


def with_weights(model: OnnxModel, name: str, factor: float) -> OnnxModel:
    """`model` with one tensor multiplied."""
    proto = onnx.load_model_from_string(model.content)
    (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == name)
    values = onnx.numpy_helper.to_array(tensor) * factor
    tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), name))
    return dataclasses.replace(model, content=proto.SerializeToString())


def test_a_model_against_itself_is_equal_in_every_convolution(model, lr):
    found = layers.compare(model, model, lr)
    graph = onnx.load_model_from_string(model.content).graph
    trained = [node for node in graph.node if node.op_type == "Conv" and node.input[1].endswith(".weight")]
    assert len(found) == len(trained) > 50
    assert all(layer.psnr_db == math.inf and layer.peak > 0 for layer in found)
    assert layers.first_beyond(found, min_psnr_db=1e9) is None


def test_the_first_layer_that_leaves_tolerance_is_the_one_that_was_changed(model, lr):
    name = "decoders.1.blocks.0.residuals.2.first"
    found = layers.compare(with_weights(model, f"{name}.weight", 1.01), model, lr)
    first = layers.first_beyond(found, min_psnr_db=100)
    assert first is not None
    assert (first.name, first.branch) == (name, "decoders.1")
    assert found[-1].name == "tail"
    assert found[-1].psnr_db < 130  # what comes after it is off too, what comes before it is not
    assert all(layer.psnr_db == math.inf for layer in found[: found.index(first)])


def test_a_value_that_is_not_finite_is_beyond_any_tolerance(model, lr):
    found = layers.compare(with_weights(model, "tail.bias", math.inf), model, lr)
    first = layers.first_beyond(found, min_psnr_db=-1e9)
    assert first is not None
    assert (first.name, first.psnr_db) == ("tail", -math.inf)


def test_the_loudest_layer_has_the_largest_values(model, lr):
    loudest = layers.loudest(with_weights(model, "encoders.0.conv.weight", 1e4), lr)
    assert loudest.peak > 1e3
    assert loudest.peak == max(layer.peak for layer in layers.compare(loudest_model(model), loudest_model(model), lr))


def loudest_model(model: OnnxModel) -> OnnxModel:
    return with_weights(model, "encoders.0.conv.weight", 1e4)


def test_models_without_a_common_layer_are_refused(model, lr):
    proto = onnx.load_model_from_string(model.content)
    for tensor in proto.graph.initializer:
        tensor.name += "x"
    for node in proto.graph.node:
        weights = {tensor.name for tensor in proto.graph.initializer}
        node.input[:] = [f"{name}x" if f"{name}x" in weights else name for name in node.input]
    other = dataclasses.replace(model, content=proto.SerializeToString())
    with pytest.raises(ModelRefused):
        layers.compare(other, model, lr)


@pytest.mark.parametrize(
    ("name", "branch"),
    [("tail", "tail"), ("decoders.1.upsample.expand", "decoders.1"), ("gradient_head", "gradient_head")],
)
def test_a_branch_is_what_the_export_can_keep(name, branch, nano):
    assert Layer(name=name, psnr_db=0, peak=1).branch == branch
    assert branch in to_onnx.branches_of(nano)


def test_kept_branches_are_in_fp32_and_nothing_else_is(half, model, lr):
    graph = onnx.load_model_from_string(onnx_file.read(half).content).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer if tensor.name.endswith(".weight")}
    for name, kind in kinds.items():
        kept = ".tail." in name or ".decoders.1." in name
        assert kind == (onnx.TensorProto.FLOAT if kept else onnx.TensorProto.FLOAT16), name
    found = {layer.name: layer for layer in layers.compare(onnx_file.read(half), model, lr)}
    assert len(found) == len(layers.compare(model, model, lr))
    assert min(layer.psnr_db for layer in found.values()) > 40


def test_a_branch_that_there_is_not_is_a_usage_error(nano):
    with pytest.raises(UsageError, match="decoders.0"):
        to_onnx.to_graph(fold(nano), "fp16", kept=["trunk"])


@pytest.fixture(scope="module")
def pictures(photo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    cv2.imwrite(str(folder / "a.png"), photo[:30, :30])
    return folder


def test_validate_names_the_first_layer(capsys, onnx_path, half, pictures, tmp_path):
    command = ["validate", "--engine", str(half), "--reference", str(onnx_path), "--layers"]
    command += ["--images", str(pictures), "--save", str(tmp_path)]
    main([*command, "--min-psnr", "20"])
    assert "layers are within 20 dB" in capsys.readouterr().err
    main([*command, "--min-psnr", "200"])
    assert "the first layer beyond 200 dB is " in capsys.readouterr().err


def test_validate_says_what_layers_need(capsys, onnx_path, checkpoint_path, pictures, tmp_path):
    command = ["validate", "--engine", str(onnx_path), "--layers", "--save", str(tmp_path), "--images", str(pictures)]
    assert main(command) == 2
    assert main([*command, "--reference", str(checkpoint_path)]) == 2
    assert "--layers" in capsys.readouterr().err
