"""Engines are built for real with TensorRT-RTX, which needs no GPU: they are what their ONNX model says, in its precision."""

import copy
import dataclasses
import json
import math

import onnx
import plans
import pytest
from builds import SIZES, made
from outcomes import files
from plans import GPUS

from gpsr_deploy import models
from gpsr_deploy.building.build import weight_types
from gpsr_deploy.cli import main
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files import onnx as onnx_file


def half(nano, path, *, kept=()):
    """Exports the random network in fp16, but for the branches `kept`."""
    import to_onnx
    from gpsr_deploy.network.folds import fold

    spec = dataclasses.replace(plans.SR, dtype="fp16")
    path.write_bytes(onnx_file.stamped(to_onnx.to_graph(fold(copy.deepcopy(nano)), "fp16", kept=kept), spec))
    return path


def built_and_inspected(path, folder, capsys):
    """What `inspect --json` says of the engine that `build` makes of the model at `path`; the same as `build --json`."""
    target = folder / "x.plan"
    assert main(["build", str(path), "-o", str(target), "--gpu", ",".join(GPUS), *SIZES, "--json"]) == 0
    told = capsys.readouterr()
    assert main(["inspect", str(target), "--json"]) == 0
    found = capsys.readouterr()
    assert found.out == told.out
    assert "not compared with the model yet: no GPU here" in told.err
    assert files(folder) == ["x.plan", "x.plan.json"]
    return json.loads(found.out)


def require_true(found, path, folder):
    """What holds of every engine, by its files."""
    model = onnx_file.read(path)
    engine = engine_file.read(folder / "x.plan")
    assert found["sha256"] == engine.spec.plan_sha256
    assert found["onnx_sha256"] == model.sha256
    assert (found["name"], found["scale"], found["dtype"]) == (model.spec.name, model.spec.scale, model.spec.dtype)
    assert (found["params"], found["macs_720p"]) == (model.costs.params, model.costs.macs_720p)
    assert found["checkpoint_sha256"] == model.spec.checkpoint_sha256
    assert found["profile"] == {"min": [3, 3], "opt": [48, 60], "max": [96, 120], "batch": 2}
    assert (found["runtime"], found["compute_capabilities"]) == ("tensorrt-rtx", list(GPUS))
    header = engine_file.header(engine.content)
    assert (header.version, header.compute_capabilities) == (found["runtime_version"], GPUS)
    assert found["parity"] is None


@pytest.mark.parametrize("path", models.files(), ids=lambda path: path.stem)
def test_every_model_that_ships_becomes_an_engine(path, tmp_path, capsys):
    found = built_and_inspected(path, tmp_path, capsys)
    require_true(found, path, tmp_path)
    if found["dtype"] == "int8":
        kept = set(onnx_file.read(path).quality.float_layers)
        graph = onnx.load(path).graph
        sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
        floats = sum(size for name, size in sizes.items() if name.removesuffix(".weight") in kept)
        fixed = sizes["upsample.kernels"] + sizes["repeat"]
        whole = sum(sizes[name] for name in sizes if name.endswith((".weight.int8", ".kernels", "repeat"))) + floats
        assert found["weights"]["fp32"] == pytest.approx((floats + fixed) / whole)
        assert found["weights"]["int8"] == pytest.approx(1 - (floats + fixed) / whole)
    else:
        assert found["weights"] == {found["dtype"]: 1.0}


@pytest.mark.slow
def test_an_fp16_model_becomes_an_fp16_engine(nano, tmp_path_factory, tmp_path, capsys):
    """Also one that has just been exported."""
    path = half(nano, tmp_path_factory.mktemp("half") / "nano_fp16.onnx")
    found = built_and_inspected(path, tmp_path, capsys)
    require_true(found, path, tmp_path)
    assert (found["dtype"], found["weights"]) == ("fp16", {"fp16": 1.0})


@pytest.mark.slow
def test_a_mixed_engine_tells_of_both_shares(nano, trt, tmp_path):
    model = onnx_file.read(half(nano, tmp_path / "mixed.onnx", kept=["tail"]))
    graph = onnx.load_model_from_string(model.content).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    counts = {onnx.TensorProto.FLOAT: 0, onnx.TensorProto.FLOAT16: 0}
    for node in graph.node:
        if node.op_type == "Conv":
            kernel = weights[node.input[1]]
            counts[kernel.data_type] += math.prod(kernel.dims)
    share = counts[onnx.TensorProto.FLOAT] / sum(counts.values())
    assert 0 < share < 0.5
    _, spec = made(model, trt)
    assert spec.weights == {"fp32": pytest.approx(share), "fp16": pytest.approx(1 - share)}


def test_tf32_which_is_on_by_default_is_off(model, trt):
    configs = []

    def keep(builder):
        def config():
            configs.append(builder.create_builder_config())
            assert configs[-1].get_flag(trt.BuilderFlag.TF32)
            return configs[-1]

        return {
            "create_builder_config": config,
            "build_serialized_network": lambda network, config: plans.plan(),
        }

    made(model, plans.with_builder(keep), optimization_level=1)
    (config,) = configs
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert config.builder_optimization_level == 1


def test_the_network_is_strongly_typed_and_asked_for_its_weights(model, trt):
    networks = []

    def keep(builder):
        def network(flags):
            networks.append(builder.create_network(flags))
            return networks[-1]

        return {"create_network": network, "build_serialized_network": lambda network, config: plans.plan()}

    made(model, plans.with_builder(keep))
    assert networks[0].get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert weight_types(networks[0], trt) == {"fp32": 1.0}
