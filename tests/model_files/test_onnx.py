"""ONNX files: the spec inside, costs counted from the graph, and everything that makes a file unsafe or unusable."""

import json

import onnx
import pytest
from onnx import TensorProto, helper
from sealed import onnx_bytes

from gpsr_deploy.errors import InputUnreadable, ModelRefused
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.model_files.gate import CHECKSUM_KEY, NO_CHECKSUM
from gpsr_deploy.model_files.onnx import COSTS_KEY, OPERATORS, PRODUCER, SPEC_KEY
from gpsr_deploy.network.folds import fold
from gpsr_deploy.network.sizes import count_macs
from gpsr_deploy.spec import MAX_JSON_BYTES, SRSpec

SPEC = SRSpec(
    name="tiny", scale=2, halo=3, multiple_of=3, tiling="aligned", dtype="fp32", checkpoint_sha256="0" * 64
)  # fmt: skip


def tensor(name, shape):
    size = 1
    for length in shape:
        size *= length
    return helper.make_tensor(name, TensorProto.FLOAT, shape, [0.5] * size)


def tiny():
    """conv 3 -> 8, ReLU, conv 8 -> 12, DepthToSpace 2: a valid model of scale 2, not stamped."""
    nodes = [
        helper.make_node("Conv", ["lr", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["c"], ["sr"], blocksize=2, mode="CRD"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("sr", TensorProto.FLOAT, ["n", 3, "2*h", "2*w"])],
        [tensor("w1", [8, 3, 3, 3]), tensor("w2", [12, 8, 3, 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def model():
    """`tiny` with its spec, valid: each test spoils it in one way."""
    return onnx.ModelProto.FromString(onnx_file.stamped(tiny(), SPEC))


def refusal(model):
    """The line of the error that this model must cause."""
    with pytest.raises(ModelRefused) as caught:
        onnx_file.check(model if isinstance(model, bytes) else onnx_bytes(model))
    line = str(caught.value)
    assert line.startswith("error[5] ")
    assert line.isprintable()
    return line


def test_stamped_and_read_give_the_spec_back(model, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(onnx_bytes(model))
    found = onnx_file.read(path)
    assert found.spec == SPEC
    assert found.content == path.read_bytes()


def test_an_export_carries_its_spec(onnx_path, nano):
    found = onnx_file.read(onnx_path)
    assert (found.spec.name, found.spec.scale, found.spec.halo) == ("gpsr-nano-x4", 4, 24)


def test_costs_of_a_graph_counted_by_hand():
    """Per LR pixel: weights times one pixel each, and ReLU's 8 in + 8 out < conv's 8 + 12 < DepthToSpace's 12 + 12 floats."""
    costs = onnx_file.measure(tiny(), 2)
    weights = 8 * 3 * 9 + 12 * 8 * 9
    assert costs.params == weights
    assert costs.macs_720p == weights * 640 * 360
    assert costs.activation_bytes == 4 * 24


def test_macs_of_an_export_are_those_of_the_folded_network(onnx_path, nano):
    """And of the two convolutions with fixed kernels, per SR pixel: 25 per channel of bicubic, 2 x 9 per LR channel of g."""
    fixed = 25 * 3 + 2 * 9 * 3 / 4**2
    found = onnx_file.read(onnx_path).costs.macs_720p
    assert found == pytest.approx(count_macs(fold(nano)) + fixed * 1280 * 720, rel=1e-9)  # both count whole numbers


def test_stamping_again_replaces_the_spec(model):
    assert onnx_file.check(onnx_file.stamped(model, SPEC)).spec == SPEC


SECRET = "/home/someone/secret.py"


def test_nothing_but_our_metadata_survives_stamping():
    """Exporters leave source paths and stack traces in every corner of a file."""
    model = tiny()
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["t"], value=tensor("v", [1]), doc_string=SECRET)],
        "branch",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, [1])],
        doc_string=SECRET,
    )
    model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    model.graph.node.append(helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch))
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, None))
    graph = model.graph
    for item in [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, model]:
        item.doc_string = SECRET
        entry = item.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.stack_trace", SECRET
    for node in graph.node:
        for attribute in node.attribute:
            attribute.doc_string = SECRET
    content = onnx_file.stamped(model, SPEC)
    assert {entry.key for entry in onnx.ModelProto.FromString(content).metadata_props} == {
        SPEC_KEY,
        COSTS_KEY,
        CHECKSUM_KEY,
    }
    assert SECRET.encode() not in content


def test_an_export_holds_no_paths_and_no_traces(onnx_path):
    content = onnx_path.read_bytes()
    assert {entry.key for entry in onnx.load(onnx_path).metadata_props} == {SPEC_KEY, COSTS_KEY, CHECKSUM_KEY}
    for trace in (b".py", b"/work", b"site-packages", b"pkg.torch", b"Traceback"):
        assert trace not in content


# --- external data ---


def outside(location):
    """A tensor that says its data lie in the file `location`."""
    found = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    entry = found.external_data.add()
    entry.key, entry.value = "location", location
    return found


def subgraph(*, nodes=(), initializers=(), sparse=()):
    graph = helper.make_graph(list(nodes), "branch", [], [], list(initializers))
    graph.sparse_initializer.extend(sparse)
    return helper.make_node(
        "If", ["yes"], ["unused"], then_branch=graph, else_branch=helper.make_graph([], "e", [], [])
    )


def sparse(values=None, indices=None):
    return onnx.SparseTensorProto(
        values=values or tensor("v", [1]),
        indices=indices or helper.make_tensor("i", TensorProto.INT64, [1], [0]),
        dims=[4],
    )


def constant(value):
    return helper.make_node("Constant", [], ["unused"], value=value)


def tensors_attribute(value):
    node = helper.make_node("Identity", ["lr"], ["unused"])
    node.attribute.append(onnx.AttributeProto(name="x", type=onnx.AttributeProto.TENSORS, tensors=[value]))
    return node


def training(value):
    return onnx.TrainingInfoProto(initialization=helper.make_graph([], "init", [], [], [value]))


HIDING_PLACES = {
    "initializer": lambda model, value: model.graph.initializer.append(value),
    "sparse values": lambda model, value: model.graph.sparse_initializer.append(sparse(values=value)),
    "sparse indices": lambda model, value: model.graph.sparse_initializer.append(sparse(indices=value)),
    "attribute": lambda model, value: model.graph.node.append(constant(value)),
    "list in an attribute": lambda model, value: model.graph.node.append(tensors_attribute(value)),
    "sparse attribute": lambda model, value: model.graph.node.append(
        helper.make_node("Constant", [], ["unused"], sparse_value=sparse(values=value))
    ),
    "subgraph": lambda model, value: model.graph.node.append(subgraph(initializers=[value])),
    "subgraph of only sparse weights": lambda model, value: model.graph.node.append(
        subgraph(sparse=[sparse(values=value)])
    ),
    "attribute in a subgraph": lambda model, value: model.graph.node.append(subgraph(nodes=[constant(value)])),
    "subgraph in a subgraph": lambda model, value: model.graph.node.append(
        subgraph(nodes=[subgraph(initializers=[value])])
    ),
    "training": lambda model, value: model.training_info.append(training(value)),
}


def require_refused(path, model):
    path.write_bytes(onnx_bytes(model))
    with pytest.raises(ModelRefused, match="outside the file") as caught:
        onnx_file.read(path)
    assert str(caught.value).startswith(f"error[5] {path}: ")


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_external_data_are_refused_wherever_they_hide(model, tmp_path, place):
    HIDING_PLACES[place](model, outside("weights.bin"))
    require_refused(tmp_path / "x.onnx", model)


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "link", "hard", "missing", "", "\x1b[2J"], ids=repr)
def test_external_data_are_refused_wherever_they_lie(model, tmp_path, location):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(4))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "hard").hardlink_to(tmp_path / "secret")
    model.graph.initializer.append(outside(location))
    require_refused(folder / "x.onnx", model)


@pytest.mark.parametrize("half", ["flag", "location"])
def test_half_declared_external_data_are_refused_too(model, half):
    value = outside("weights.bin")
    value.ClearField("external_data" if half == "flag" else "data_location")
    model.graph.initializer.append(value)
    assert "outside the file" in refusal(model)


# --- operators ---


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Frobnicate", ["lr"], ["unused"]),
        helper.make_node("\x1b[31mConv", ["lr"], ["unused"]),
        helper.make_node("Conv", ["lr", "w1"], ["unused"], domain="com.microsoft"),
        helper.make_node("Scaler", ["lr"], ["unused"], domain="ai.onnx.ml"),
        helper.make_node("Relu", ["lr"], ["unused"], domain="evil\n\x1b[2J"),
    ],
    ids=lambda node: f"{node.domain}:{node.op_type}".encode("unicode_escape").decode(),
)
@pytest.mark.parametrize("nested", [False, True], ids=["graph", "subgraph"])
def test_unknown_operators_and_domains_are_refused(model, node, nested):
    if node.domain:
        model.opset_import.append(helper.make_opsetid(node.domain, 1))
    model.graph.node.append(subgraph(nodes=[node]) if nested else node)
    assert "operator" in refusal(model)


@pytest.mark.parametrize("version", [None, 0, -1, onnx.defs.onnx_opset_version() + 1, 1 << 40])
def test_an_opset_that_does_not_exist_is_refused(model, version):
    del model.opset_import[:]
    if version is not None:
        model.opset_import.append(helper.make_opsetid("", version))
    assert "opset" in refusal(model)


def test_functions_of_the_models_own_are_refused(model):
    body = [helper.make_node("Identity", ["x"], ["y"])]
    model.functions.append(helper.make_function("", "Relu", ["x"], ["y"], body, [helper.make_opsetid("", 20)]))
    assert "functions of its own" in refusal(model)


# --- damage ---


def test_a_model_cut_anywhere_is_refused(model):
    content = onnx_bytes(model)
    for cut in range(len(content)):
        refusal(content[:cut])


def test_an_export_cut_anywhere_is_refused(onnx_path):
    content = onnx_path.read_bytes()
    for cut in [*range(0, len(content), len(content) // 50), len(content) - 1]:
        refusal(content[:cut])


def test_a_flipped_byte_is_refused_or_harmless(model):
    """Most flips in weights load silently, in any format; none may end in anything but a spec or a refusal."""
    content = bytearray(onnx_bytes(model))
    refused = 0
    for place in range(len(content)):
        content[place] ^= 0x41
        try:
            found = onnx_file.check(bytes(content))
            spec, costs = found.spec, found.costs
        except ModelRefused:
            refused += 1
        else:
            assert isinstance(spec, SRSpec)
            assert costs.activation_bytes > 0
        content[place] ^= 0x41
    assert refused > 100


@pytest.mark.parametrize("content", [b"", b"\0", b"\x80\x04\x95", b"not a model", b"\xff" * 1000, b"{}"], ids=repr)
def test_other_files_are_refused(content):
    refusal(content)


def test_a_missing_file_and_a_folder_are_unreadable(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(InputUnreadable, match=r"error\[3\]"):
            onnx_file.read(path)


# --- the spec ---


def restamp(model, key, value):
    metadata = {entry.key: entry.value for entry in model.metadata_props} | {key: value}
    helper.set_model_props(model, {name: text for name, text in metadata.items() if text is not None})
    return model


@pytest.mark.parametrize("key", [SPEC_KEY, COSTS_KEY])
@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "{",
        "[]",
        "null",
        "0",
        '"\x1b[2J"',
        "[" * 100_000,
        "[" * (MAX_JSON_BYTES - 1),
        '{"a":' * 10_000,
        '{"\x1b[2J</script>": 1}',
        "9" * 5000,
        "9" * 10_000_000,
    ],
    ids=lambda value: f"{len(value or '')}:{value and value[:9]!r}",
)
def test_a_missing_or_hostile_statement_is_refused(model, key, value):
    refusal(restamp(model, key, value))


@pytest.mark.parametrize("field", ["params", "macs_720p", "activation_bytes"])
def test_costs_that_are_no_numbers_above_zero_are_refused(model, field):
    """They are multiplied, divided by and shown: a wrong one would fail far from here, and not as a refused model."""
    for value in ("x", None, [], {}, True, 0, -1, float("nan"), float("inf")):
        costs = {"params": 1, "macs_720p": 1.0, "activation_bytes": 1} | {field: value}
        refusal(restamp(model, COSTS_KEY, json.dumps(costs)))


# --- inputs and outputs ---


def value_info(name, *, kind=TensorProto.FLOAT, shape=("n", 3, "h", "w")):
    return helper.make_tensor_value_info(name, kind, shape)


LR, SR = value_info("lr"), value_info("sr")

WRONG_INTERFACES = {
    "input of another name": ([value_info("input")], [SR]),
    "output of another name": ([LR], [value_info("output")]),
    "float16 in": ([value_info("lr", kind=TensorProto.FLOAT16)], [SR]),
    "uint8 out": ([LR], [value_info("sr", kind=TensorProto.UINT8)]),
    "three axes": ([value_info("lr", shape=(3, "h", "w"))], [SR]),
    "a second input": ([LR, value_info("scale")], [SR]),
    "a second output": ([LR], [SR, value_info("b")]),
    "no input": ([], [SR]),
    "no output": ([LR], []),
    "one channel": ([value_info("lr", shape=("n", 1, "h", "w"))], [SR]),
    "channels last": ([value_info("lr", shape=("n", "h", "w", 3))], [SR]),
    "one size only": ([value_info("lr", shape=(1, 3, 64, 64))], [SR]),
    "a sequence": ([helper.make_tensor_sequence_value_info("lr", TensorProto.FLOAT, None)], [SR]),
}


@pytest.mark.parametrize("case", WRONG_INTERFACES)
def test_other_inputs_and_outputs_are_refused(model, case):
    inputs, outputs = WRONG_INTERFACES[case]
    del model.graph.input[:], model.graph.output[:]
    model.graph.input.extend(inputs)
    model.graph.output.extend(outputs)
    refusal(model)


# --- the checksum, and what nobody can vouch for ---


def test_what_is_stamped_has_a_checksum_that_finds_any_flipped_bit(model):
    """In every tenth byte, all eight of them."""
    content = onnx_file.stamped(model, SPEC)
    assert onnx_file.check(content).warnings == ()
    for position in range(0, len(content), 10):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            with pytest.raises(ModelRefused):
                onnx_file.check(bytes(damaged))


def without_checksum(model):
    kept = [entry for entry in model.metadata_props if entry.key != CHECKSUM_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model


def test_a_foreign_model_without_a_checksum_is_taken_and_says_so(model, tmp_path):
    model.producer_name = "an optimiser"
    path = tmp_path / "x.onnx"
    path.write_bytes(without_checksum(model).SerializeToString())
    assert onnx_file.read(path).warnings == (NO_CHECKSUM,)


def test_our_own_exports_must_have_theirs(model):
    assert model.producer_name == PRODUCER
    assert "lost its checksum" in refusal(without_checksum(model))


def test_metadata_that_nobody_knows_is_refused_by_its_key(model):
    entry = model.metadata_props.add()
    entry.key, entry.value = "gpsr.sha257", "0" * 64
    assert "'gpsr.sha257'" in refusal(model)


def test_metadata_that_says_a_thing_twice_is_refused(model):
    entry = model.metadata_props.add()
    entry.key, entry.value = SPEC_KEY, SPEC.to_json()
    assert "twice" in refusal(model)


@pytest.mark.parametrize(
    "kind", ["Loop", "If", "Scan", "ConstantOfShape", "Tile", "Expand", "Resize", "RandomNormal", "NonZero"]
)
def test_operators_that_no_export_holds_are_refused_by_name(model, kind):
    assert kind not in OPERATORS
    model.graph.node.append(helper.make_node(kind, ["lr"], ["unused"]))
    assert f"operator {kind!r}" in refusal(model)
