"""The header of a plan: what it tells, and bytes that are no plan are refused in plain words."""

import json

import plans
import pytest
from engine_files import refusal
from hypothesis import given
from hypothesis import strategies as st
from plans import GPUS

from gpsr_deploy.cli import main
from gpsr_deploy.errors import ModelRefused
from gpsr_deploy.model_files import engine as engine_file


def test_a_header_tells_runtime_version_and_gpus():
    found = engine_file.header(plans.plan(("7.5", "12.1"), version=(1, 8, 0, 3)))
    assert found == engine_file.PlanHeader(
        runtime="tensorrt-rtx", version="1.8.0.3", compute_capabilities=("7.5", "12.1")
    )
    assert engine_file.header(plans.plan(engine_file.CAPABILITY_BITS.values())).compute_capabilities == (
        *("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"),
    )
    found = engine_file.header(plans.plan(magic=b"ftrt"))
    assert (found.runtime, found.compute_capabilities) == ("tensorrt", ())


def test_a_plan_made_by_hand_has_the_header_of_a_real_one():
    content, spec = plans.real()
    assert engine_file.header(content) == engine_file.header(plans.plan())
    head = plans.plan(body=bytes(len(content) - engine_file.HEADER_BYTES))[: engine_file.HEADER_BYTES]
    told = [*range(0x1C), *range(0x20, 0x24)]
    assert [content[at] for at in told] == [head[at] for at in told]
    assert spec.compute_capabilities == GPUS


def test_a_cut_header_is_no_plan_and_a_cut_plan_is_named():
    content = plans.plan()
    for cut in range(len(content)):
        with pytest.raises(ModelRefused, match="no TensorRT plan" if cut < 64 else f"has {cut} bytes. Expected 320"):
            engine_file.header(content[:cut])
    with pytest.raises(ModelRefused, match="has 321 bytes"):
        engine_file.header(content + b"\0")


def test_a_header_that_was_flipped_before_the_checksum_gives_words_or_an_engine(tmp_path):
    """Who makes the sidecar to match can say anything; nothing else may come of it."""
    told = {*range(4), *range(0x10, 0x1B)}  # magic, size, and the three numbers of the release
    for bit in range(engine_file.HEADER_BYTES * 8):
        content = bytearray(plans.plan())
        content[bit // 8] ^= 1 << bit % 8
        path = plans.write(tmp_path, bytes(content))
        if bit // 8 in told or (bit // 8 == 0x20 and bit % 8 < 6):  # or a GPU
            refusal(path)
        else:
            assert engine_file.read(path).content == content


def wrapped(header, content=None):
    return len(header).to_bytes(4, "little") + header + (plans.plan() if content is None else content)


def test_a_json_header_before_a_plan_is_named():
    header = json.dumps({"description": "model", "names": {0: "x"}}).encode()
    for content in (wrapped(header), wrapped(header, plans.plan(magic=b"ftrt"))):
        with pytest.raises(ModelRefused, match=f"but one begins at byte {len(header) + 4}, after a JSON header"):
            engine_file.header(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"vtrt",
        b"TRTv" + bytes(100),
        bytes(1000),
        b"PK\3\4" + bytes(100),
        b"\x08\x08\x12\x07pytorch" + bytes(100),
        wrapped(b"{" * 1000),
        wrapped(b"{broken}"),
        wrapped(b'{"a":' * 100_000),
        wrapped(b'{"a": ' + b"9" * 5000 + b"}"),
        wrapped(b'{"\xff": 1}'),
        wrapped(b"{}", b"something else" * 10),
        b"\xff\xff\xff\xff{}" + plans.plan(),
    ],
    ids=lambda content: f"{len(content)}:{content[:8]!r}",
)
def test_what_is_no_plan_is_refused_and_told_how_to_make_one(tmp_path, content):
    with pytest.raises(ModelRefused, match="no TensorRT plan.*begins with ftrt") as caught:
        engine_file.header(content)
    assert "but one begins" not in str(caught.value)
    (tmp_path / "x.plan").write_bytes(content)
    assert main(["inspect", str(tmp_path / "x.plan")]) == 5


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda rest: b"vtrt" + rest))
def test_arbitrary_bytes_give_a_header_or_a_refusal(content):
    try:
        assert engine_file.header(content).runtime in ("tensorrt", "tensorrt-rtx")
    except ModelRefused as error:
        assert str(error).isprintable()
