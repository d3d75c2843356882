"""Specs as JSON: sound ones, and what somebody or something may have made of them."""

import functools
import json
import math
import operator

VALID = {
    "name": "gpsr-nano-x4",
    "scale": 4,
    "halo": 24,
    "multiple_of": 3,
    "tiling": "aligned",
    "dtype": "fp32",
    "checkpoint_sha256": "0123456789abcdef" * 4,
}


ENGINE = {
    "sr": VALID,
    "costs": {"params": 150_677, "macs_720p": 1.72e10, "activation_bytes": 4000},
    "profile": {"min": [3, 3], "opt": [96, 120], "max": [96, 240], "batch": 2},
    "runtime": "tensorrt-rtx",
    "runtime_version": "1.7.1.116",
    "compute_capabilities": ["8.6", "12.0"],
    "weights": {"fp32": 0.25, "fp16": 0.75},
    "plan_sha256": "ab" * 32,
    "onnx_sha256": "cd" * 32,
    "parity": {"images": 9, "psnr_db": 101.5, "max_level": 1, "share_off_by_one": 0.25, "gpu": "NVIDIA RTX 4090"},
}


def paths(value, path=()):
    """Where something stands in JSON: keys and indices from the top, of every value but the top itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def changed(path, value, *, within=ENGINE):
    """A copy of `within` with `value` at `path`."""
    copy = json.loads(json.dumps(within))
    *parents, last = path
    functools.reduce(operator.getitem, parents, copy)[last] = value
    return copy


def without(path):
    copy = json.loads(json.dumps(ENGINE))
    *parents, last = path
    del functools.reduce(operator.getitem, parents, copy)[last]
    return copy


FIELDS = list(paths(ENGINE))


OBJECTS = [(), ("sr",), ("costs",), ("profile",), ("parity",)]


HOSTILE = [
    *(None, True, False, -1, 0.5, math.nan, math.inf, -math.inf, 10**400, 10**4000, -(10**4000)),
    *("", "x", "\x1b[31mred", "../../etc/passwd", "</script>", "\ud800", "a\nb", "x" * 5000),
    *([], {}, [None], [[]], {"a": 1}),
]

OUT_OF_RANGE = {
    ("runtime",): ["TensorRT", "onnxruntime", "tensorrt ", ["tensorrt"], None, 1],
    ("runtime_version",): ["1.7.1", "1.7.1.116.0", "1.7.1.x", "-1.7.1.1", "1.7.1.116\n", "1.7.1.999999", "١.٧.١.١"],
    ("compute_capabilities",): [[], "8.9", ["8"], ["8.9", "8.9"], ["8.90"], ["100.0"], [8.9], ["8.9\n"], ["8.9"] * 33],
    ("weights",): [[], None, {"int4": 1}, {"fp32": 1.1}, {"fp32": -0.1}, {"fp32": "1"}, {"fp32": True},
                   {"fp32": 0.5}, {"fp32": 1, "fp16": 1}, {"\x1b[2J": 1}],
    ("plan_sha256",): ["", "AB" * 32, "ab" * 31, "ab" * 33, "ab" * 32 + "\n", 0, None],
    ("onnx_sha256",): ["", "zz" * 32, None],
    ("parity", "images"): [0, -1, 1.0, True, 10**400],
    ("parity", "psnr_db"): [-1, "inf", 10**400, 1e400, True],
    ("parity", "max_level"): [-1, 256, 1.0],
    ("parity", "share_off_by_one"): [-0.1, 1.1, None],
    ("parity", "gpu"): ["", "x" * 101, "a\x1b[2J", None],
    ("costs", "params"): [0, -1, 1.0, 2**31, None],
    ("costs", "macs_720p"): [0, -1, 1e400, 10**400, None],
    ("costs", "activation_bytes"): [0, 2**24 + 1, None],
    ("profile", "min"): [[0, 3], [3], [3, 3, 3], ["3", 3], [3.0, 3], [99, 3], 3, "33", [True, 3], [4, 4]],
    ("profile", "max"): [[96, 10**30], [96, 65_538]],
    ("profile", "batch"): [0, 1025, 1.0, True],
    ("sr", "multiple_of"): [5],
}  # fmt: skip
"""Where in a sidecar: values that are beyond its limits."""
