"""Sidecars and qualities, which are hostile input: read and refused in C++ as in Python."""

import dataclasses
import functools
import json
import operator
import time

import pytest
from cpp import QUALITY, VALID, mutants, probe
from specs import ENGINE, FIELDS, HOSTILE, OBJECTS, OUT_OF_RANGE, changed, paths

from gpsr_deploy.errors import GpsrError
from gpsr_deploy.spec import EngineSpec, Quality


def in_python(kind, content):
    """What Python makes of such a text: its values, or None where it is refused."""
    try:
        return dataclasses.asdict(kind.from_json(content.decode("utf-8")))
    except (UnicodeDecodeError, GpsrError):
        return None


def require_same_verdicts(built, cases, part="sidecar", kind=EngineSpec):
    accepted = 0
    for case, line in zip(cases, probe(built, part, cases), strict=True):
        expected = in_python(kind, case)
        assert line.isprintable()
        if expected is None:
            assert line.startswith("error[5] "), (case, line)
            assert len(line) < 1100
        else:
            found = json.loads(line)
            assert found == json.loads(json.dumps(expected)), case
            accepted += 1
    return accepted


def test_a_thousand_mutated_sidecars_are_judged_as_python_judges_them(built):
    assert 30 < require_same_verdicts(built, mutants(1000)) < 900


def test_every_hostile_value_is_judged_as_python_judges_it(built):
    cases = [json.dumps(changed(path, value)).encode() for path in FIELDS for value in HOSTILE]
    assert 0 < require_same_verdicts(built, cases) < len(cases) / 4


@pytest.mark.parametrize("tokens", [
    ["0", "-0", "1", "0.0", "-0.0", "1e0", "1E+0", "10e-1", "1e-400", "0e999", "0.99999999999", "1.0000000000000002"],
    ["1e400", "-1e400", "1e-99999999999", "1e99999999999", "0.0001e99999", "123456789e-99999"],
    ["01", "1.", ".1", "+1", "--1", "1e", "1e+", "0x1", "1_0", "١", "Infinity", "NaN", "1e5 1", "1,", "", "-", "1\0"],
    ["1000000000000000000", "1000000000000000001", "1e18", "9223372036854775807", "9223372036854775808", "9" * 400, "9" * 5000],
], ids=["small", "beyond", "none", "large"])  # fmt: skip
def test_numbers_are_read_as_python_reads_them(built, tokens):
    cases = [
        json.dumps(changed(path, "@")).replace('"@"', token).encode()
        for path in (("costs", "macs_720p"), ("parity", "psnr_db"), ("parity", "max_level"), ("weights", "fp32"))
        for token in tokens
    ]
    require_same_verdicts(built, cases)


def test_values_at_and_beyond_their_limits_are_judged_as_python_judges_them(built):
    """Those of specs.py, and those on the limits."""
    limits = {
        ("sr", "name"): ["x" * 100, "x" * 101, "é" * 100, "\U0001f600" * 101, " ", "\u00a0"],
        ("sr", "halo"): [0, 1023, 1024, 1026], ("sr", "scale"): [2, 4, 6, 8, 12, 16, 32], ("sr", "multiple_of"): [1, 3, 6, 1024],
        ("profile", "max"): [[65_535, 65_535], [96, 65_538], [65_538, 240]], ("profile", "batch"): [1, 1024, 1025],
        ("profile", "min"): [[3, 3], [3, 4], [4, 3], [0, 3], [3, -3]],
        ("costs", "params"): [2**31 - 1, 2**31], ("costs", "activation_bytes"): [1, 2**24, 2**24 + 1],
        ("parity", "psnr_db"): [0, 1e4, 10_000, 10_001, None], ("parity", "max_level"): [0, 255, 256],
        ("weights",): [{}, {"bf16": 1}, {"fp32": 0.5, "other": 0.5 + 1e-10}, {"fp32": 0.5, "other": 0.5 + 1e-8}, {"fp32": 1.0, "fp16": 0.5}],
        ("compute_capabilities",): [["8.6", "8.6"], ["10.0"], ["1.0"] * 2, [f"{n}.0" for n in range(32)], [f"{n}.0" for n in range(33)]],
    }  # fmt: skip
    cases = [
        json.dumps(changed(path, one)).encode()
        for table in (OUT_OF_RANGE, limits)
        for path in table
        for one in table[path]
    ]
    assert 20 < require_same_verdicts(built, cases) < 60


def test_json_is_read_as_strictly_as_in_python(built):
    texts = [
        *(VALID + end for end in (" \n\t\r", "{}", "x", "\0", ",", "\x0b", "\u00a0")),
        *(start + VALID for start in (" \n\t\r", "\ufeff", "\0", "\x0c", "[")),
        VALID + " " * (65_536 - len(VALID)), VALID + " " * (65_537 - len(VALID)), VALID[:-1], VALID.replace(",", ",,", 1),
        VALID.replace("}", ",}", 1), VALID.replace("[", "[,", 1), VALID.replace(":", "", 1), VALID.replace("{", "{{", 1),
    ]  # fmt: skip
    inside = ["\t", "\x1f", "\n", r"\t", r"\u0009", r"\ud83d\ude00", r"\ud83d", r"\ude00", r"\ud83d\u0041", r"\ud83dx", r"\ud83d\ud83d", r"\u00g0",
              r"\u+123", r"\u-123", r"\u 123", r"\u12", "\\", r"\/\"\\", r"\x41", r"\U00000041", "\x7f", "é", "\ud83d"]  # fmt: skip
    texts += [VALID.replace("gpsr-nano-x4", one) for one in inside]
    for path in (*OBJECTS, ("weights",)):
        inner = functools.reduce(operator.getitem, path, ENGINE)
        key = next(iter(inner))
        twice = json.dumps(inner)[:-1] + f", {json.dumps(key)}: {json.dumps(inner[key])}}}"
        texts.append(json.dumps(changed(path, "@")).replace('"@"', twice) if path else twice)
    assert require_same_verdicts(built, [text.encode("utf-8", "surrogatepass") for text in texts]) == 6


def test_a_hundred_thousand_brackets_and_a_mebibyte_are_refused_at_once(built):
    cases = [
        b"[" * 10**5,
        b"[" * 65_000,
        b'{"a":' * 10**5,
        b'{"a":' * 13_000,
        b'"' + b"x" * 2**20 + b'"',
        b"[" + b"0," * 30_000 + b"0]",
        b" " * 65_536,
        b"",
    ]
    begin = time.perf_counter()
    assert require_same_verdicts(built, cases) == 0
    assert time.perf_counter() - begin < 2


def test_qualities_are_judged_as_python_judges_them(built):
    """Those that somebody or something changed, and those at and beyond the limits."""
    losses = [
        *(-1e4, 1e4, -10_000, 10_000, -10_001, 10_001, 1e4 + 1e-9, 0, -0.0, 1e400, 10**20, -(10**400)),
        *("0", True, None, [0]),
    ]
    names = [
        *("x" * 100, "x" * 101, "é" * 100, "\U0001f600" * 101, "", " ", "\u00a0", "a\x1b[2J", "\u202e", "\ud800"),
        *(None, 1, ["a"]),
    ]
    layers = [[], ["a"] * 1000, ["a"] * 1001, ["a", "a"], "head", {}, {"a": 1}, None, *([one] for one in names)]
    tables = [{}, {"int8": 0.04}, {"bf16": 0.01}, {"fp16": 0.01}, {"fp32": 0}, {"": 0}, [], ["bf16"], "bf16", None]
    changes = {"loss_db": [*tables, *({"bf16": one} for one in losses)], "float_layers": layers}
    texts = [json.dumps(changed((key,), one, within=QUALITY)) for key in changes for one in changes[key]]
    texts += [json.dumps(changed(path, one, within=QUALITY)) for path in paths(QUALITY) for one in HOSTILE]
    texts += [json.dumps(QUALITY).replace("0.008", odd) for odd in ('0, "bf16": 0', "NaN", "01", "1e-400")]
    assert 20 < require_same_verdicts(built, [text.encode() for text in texts], "quality", Quality) < 80
    assert 30 < require_same_verdicts(built, mutants(1000, valid=QUALITY), "quality", Quality) < 900
