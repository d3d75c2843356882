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
