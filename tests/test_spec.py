"""SRSpec and Profile: valid at birth, JSON in and out, hostile JSON refused."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpsr_deploy.errors import ModelRefused
from gpsr_deploy.spec import MAX_JSON_BYTES, Profile, SRSpec

VALID = {
    "name": "gpsr-nano-x4",
    "scale": 4,
    "halo": 24,
    "multiple_of": 3,
    "tiling": "aligned",
    "dtype": "fp32",
    "checkpoint_sha256": "0123456789abcdef" * 4,
}


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
        ("dtype", ["int8", "", None, ["fp32"]]),
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
