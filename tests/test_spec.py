"""SRSpec, Profile and EngineSpec: valid at birth, JSON in and out, hostile JSON refused."""

import dataclasses
import functools
import json
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specs import ENGINE, FIELDS, HOSTILE, OBJECTS, OUT_OF_RANGE, VALID, changed, without

from gpsr_deploy.errors import ModelRefused
from gpsr_deploy.spec import MAX_JSON_BYTES, MAX_SIDE, Costs, EngineSpec, Parity, Profile, SRSpec


def specs():
    return st.integers(1, 32).flatmap(
        lambda step: st.builds(
            SRSpec,
            name=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=100),
            scale=st.sampled_from([2, 4, 8, 16]),
            halo=st.integers(0, 1024 // step).map(lambda cells: cells * step),
            multiple_of=st.just(step),
            tiling=st.sampled_from(["aligned", "whole"]),
            dtype=st.sampled_from(["fp32", "fp16"]),
            checkpoint_sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
        )
    )


@given(specs())
def test_json_gives_the_spec_back(spec):
    assert SRSpec.from_json(spec.to_json()) == spec
    assert "\n" not in spec.to_json()


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", ["", "x" * 101, "a\x1b[31m", "a\nb", 4, None]),
        ("scale", [0, 1, 3, 32, -4, 4.0, "4", True, None]),
        ("halo", [-3, 1, 25, 1026, 24.0, "24", None]),
        ("multiple_of", [0, -3, 1025, 3.0, True, None]),
        ("tiling", ["", "Aligned", None, 1, ["aligned"]]),
        ("dtype", ["bf16", "", None, ["fp32"]]),
        ("checkpoint_sha256", ["", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", "../" * 21 + "x", None, 0]),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(field, values):
    for value in values:
        with pytest.raises(ModelRefused, match=field):
            SRSpec.from_json(json.dumps(VALID | {field: value}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nul",
        "[]",
        "null",
        '"spec"',
        "{}",
        json.dumps(VALID | {"extra": 1}),
        json.dumps({key: value for key, value in VALID.items() if key != "halo"}),
        json.dumps(VALID)[:-1],
        json.dumps(VALID) + "{}",
        json.dumps(VALID).replace("24", "9" * 5000),
        "[" * (MAX_JSON_BYTES - 1),
        "[" * 100_000,
        '{"name":' * 8000,
        json.dumps(VALID | {"name": "x" * MAX_JSON_BYTES}),
    ],
    ids=lambda text: f"{len(text)}:{text[:12]}",
)
def test_anything_but_one_object_of_these_fields_is_refused(text):
    with pytest.raises(ModelRefused) as caught:
        SRSpec.from_json(text)
    assert str(caught.value).isprintable()


def test_hostile_keys_are_shown_escaped():
    with pytest.raises(ModelRefused) as caught:
        SRSpec.from_json(json.dumps({"\x1b[2J</script>\ud800": 1}))
    assert "\\x1b[2J" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_spec_is_a_value():
    spec = SRSpec(**VALID)
    assert {spec: 1}[SRSpec(**VALID)] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.scale = 8


def test_profile_orders_its_sizes():
    assert Profile(min=(3, 3), opt=(96, 120), max=(96, 240), batch=2).opt == (96, 120)


@pytest.mark.parametrize(
    "changed",
    [
        {"min": (0, 3)},
        {"min": (99, 3)},
        {"opt": (96, 300)},
        {"max": (95, 240)},
        {"batch": 0},
    ],
    ids=str,
)
def test_a_profile_out_of_order_is_refused(changed):
    with pytest.raises(ModelRefused):
        Profile(**{"min": (3, 3), "opt": (96, 120), "max": (96, 240), "batch": 2} | changed)


# --- EngineSpec ---


def refusal(text):
    """The refusal of a sidecar, which is one printable line."""
    with pytest.raises(ModelRefused) as caught:
        EngineSpec.from_json(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    return caught.value


IDS = [".".join(map(str, path)) for path in FIELDS]


def engine_specs():
    """Valid ones, all over their ranges."""
    share = st.floats(0, 1)
    side = st.integers(1, MAX_SIDE)
    parity = st.builds(
        Parity,
        images=st.integers(1, 2**31 - 1),
        psnr_db=st.none() | st.floats(0, 1e4) | st.integers(0, 10_000),
        max_level=st.integers(0, 255),
        share_off_by_one=share,
        gpu=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=100),
    )
    sizes = st.lists(st.tuples(side, side), min_size=3, max_size=3).map(
        lambda found: list(zip(*map(sorted, zip(*found, strict=True)), strict=True))
    )
    profile = st.builds(
        lambda found, batch: Profile(min=found[0], opt=found[1], max=found[2], batch=batch),
        sizes,
        st.integers(1, 1024),
    )
    sha256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
    return st.builds(
        EngineSpec,
        sr=specs().map(lambda spec: dataclasses.replace(spec, multiple_of=1)),
        costs=st.builds(
            Costs,
            params=st.integers(1, 2**31 - 1),
            macs_720p=st.floats(1e-300, 1e18) | st.integers(1, 10**18),
            activation_bytes=st.integers(1, 1 << 24),
        ),
        profile=profile,
        runtime=st.sampled_from(["tensorrt", "tensorrt-rtx"]),
        runtime_version=st.lists(st.integers(0, 99999), min_size=4, max_size=4).map(lambda v: ".".join(map(str, v))),
        compute_capabilities=st.lists(
            st.integers(0, 999).map(lambda n: f"{n // 10}.{n % 10}"), min_size=1, max_size=32, unique=True
        ).map(tuple),
        weights=share.map(lambda one: {"fp32": one, "fp16": 1 - one}) | st.just({}),
        plan_sha256=sha256,
        onnx_sha256=sha256,
        parity=st.none() | parity,
    )


@given(engine_specs())
def test_a_sidecar_gives_the_engine_spec_back(spec):
    assert EngineSpec.from_json(spec.to_json()) == spec
    assert list(json.loads(spec.to_json())) == list(ENGINE)
    assert spec.to_json().endswith("}\n")


def test_the_sidecar_of_these_tests_is_valid():
    found = EngineSpec.from_json(json.dumps(ENGINE))
    assert json.loads(found.to_json()) == ENGINE
    assert found.profile.opt == (96, 120)
    assert EngineSpec.from_json(json.dumps(ENGINE | {"parity": None})).parity is None


@pytest.mark.parametrize("path", FIELDS, ids=IDS)
def test_no_field_may_be_missing(path):
    if path[0] == "weights" and len(path) > 1 or path[0] == "compute_capabilities" and len(path) > 1:
        return  # those are lists of any length
    refusal(json.dumps(without(path)))


@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_no_field_may_be_added(path):
    for key in ("extra", "", "__class__", "self", "\x1b[2J</script>", "../../x"):
        assert "holds" in refusal(json.dumps(changed((*path, key), 1))).found


@pytest.mark.parametrize("path", FIELDS, ids=IDS)
def test_a_value_of_another_kind_is_refused_or_valid_and_never_anything_else(path):
    """Some are valid where they stand: no parity, a name like `../../etc/passwd`. Those can be shown and written."""
    free = ("parity", "weights", "name", "gpu", "psnr_db", "share_off_by_one", "macs_720p")
    for value in HOSTILE:
        try:
            spec = EngineSpec.from_json(json.dumps(changed(path, value)))
        except ModelRefused as error:
            assert str(error).isprintable()
        else:
            assert path[-1] in free
            assert EngineSpec.from_json(spec.to_json()) == spec
            require_showable(spec)


def require_showable(spec):
    """What others do with the numbers of a spec that was accepted."""
    assert json.dumps(dataclasses.asdict(spec), allow_nan=False)
    assert f"{spec.costs.macs_720p / 1e9:.1f} {spec.costs.params:,} {spec.costs.activation_bytes * MAX_SIDE**2:.1f}"
    assert all(f"{share:.0%}" for share in spec.weights.values())
    if spec.parity and spec.parity.psnr_db is not None:
        assert f"{spec.parity.psnr_db:.1f}"


@pytest.mark.parametrize(
    ("path", "values"),
    OUT_OF_RANGE.items(),
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else None,
)
def test_a_value_out_of_range_is_refused(path, values):
    for value in values:
        refusal(json.dumps(changed(path, value)))


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "0x10", "01", "+1"])
@pytest.mark.parametrize("path", [("costs", "macs_720p"), ("parity", "psnr_db"), ("weights", "fp32"), ("sr", "scale")])
def test_tokens_that_are_no_numbers_are_refused(path, token):
    found = refusal(json.dumps(changed(path, "@")).replace('"@"', token)).found
    assert "JSON" in found or token.endswith("1e999")  # which is JSON, and no number here


@pytest.mark.parametrize("depth", [100, 900, 990, 1500, 10**4, 30_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
@pytest.mark.parametrize(
    "path", [(), ("sr",), ("sr", "name"), ("weights",), ("weights", "fp32"), ("profile", "min")], ids=str
)
def test_depth_is_refused(path, brackets, depth):
    """Also where reading it works and showing it would not."""
    opened = "[" * depth if brackets == "[]" else '{"a":' * depth + "1"
    deep = opened + brackets[1] * depth
    refusal(json.dumps(changed(path, "@")).replace('"@"', deep) if path else deep)


def test_depth_of_a_hundred_thousand_and_a_mebibyte_are_refused():
    refusal("[" * 10**5)
    refusal(json.dumps(changed(("sr", "name"), "x" * 2**20)))
    refusal(json.dumps(ENGINE) + " " * 2**20)
    refusal(json.dumps(ENGINE | {"sr": {str(number): number for number in range(5000)}}))


@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_a_key_that_stands_there_twice_is_refused(path):
    """Readers take one or the other: what was checked here would not be what another program reads."""
    inner = functools.reduce(operator.getitem, path, ENGINE)
    key = next(iter(inner))
    twice = json.dumps(inner)[:-1] + f", {json.dumps(key)}: {json.dumps(inner[key])}}}"
    text = json.dumps(changed(path, "@")).replace('"@"', twice) if path else twice
    assert "JSON" in refusal(text).found


@pytest.mark.parametrize("text", ["", " ", "nul", "[]", "null", "0", '"x"', "{}", "\ufeff" + json.dumps(ENGINE), "\0",
                                  json.dumps(ENGINE)[:-1], json.dumps(ENGINE) * 2, json.dumps([ENGINE])], ids=lambda text: f"{len(text)}:{text[:9]}")  # fmt: skip
def test_anything_but_one_sidecar_is_refused(text):
    refusal(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(IDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(IDS), inner, max_size=4),
)


@given(JSON)
def test_arbitrary_json_is_no_sidecar(value):
    refusal(json.dumps(value))


@settings(max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(FIELDS), JSON), min_size=1, max_size=3))
def test_arbitrary_json_in_a_sidecar_gives_a_valid_one_or_a_refusal(changes):
    found = ENGINE
    for path, value in changes:
        try:
            found = changed(path, value, within=found)
        except (TypeError, KeyError, IndexError):
            continue  # what an earlier change took away
    try:
        spec = EngineSpec.from_json(json.dumps(found))
    except ModelRefused as error:
        assert str(error).isprintable()
    else:
        assert EngineSpec.from_json(spec.to_json()) == spec
        require_showable(spec)


@given(st.text())
def test_arbitrary_text_is_no_sidecar(text):
    refusal(text)


def test_a_profile_takes_what_lies_between_its_sizes():
    profile = Profile(min=(3, 6), opt=(9, 9), max=(12, 15), batch=1)
    sizes = [(3, 6), (12, 15), (2, 6), (3, 5), (13, 15), (12, 16)]
    assert [profile.takes(size) for size in sizes] == [True, True, False, False, False, False]


@pytest.mark.parametrize("changes", [{"min": (4, 3)}, {"opt": (96, 121)}, {"max": (97, 240)}], ids=str)
def test_sizes_that_the_network_cannot_run_are_refused(changes):
    valid = {"min": (3, 3), "opt": (96, 120), "max": (96, 240), "batch": 2}
    Profile(**valid).require_multiples(3)
    with pytest.raises(ModelRefused, match="multiples of 3"):
        Profile(**valid | changes).require_multiples(3)
