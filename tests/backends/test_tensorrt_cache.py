"""The cache of compiled kernels beside an engine: kept, made anew, and no reason to fail."""

import numpy as np
import pytest
from double_engines import PLAN, batch_of, opened
from doubles import DataType, Plan, TensorRt, nearest

from gpsr_deploy.errors import ModelRefused
from gpsr_deploy.model_files import cache as cache_file


def test_compiled_kernels_are_kept_and_read_back(gpu, tmp_path):
    path = tmp_path / "x.plan.cache"
    trt = TensorRt(gpu, rtx=True, plan=PLAN)
    with opened(gpu, rtx=True, trt=trt, cache=path) as backend:
        backend.infer(batch_of(1, 6, 6))
        assert not path.exists()
    assert cache_file.read(path) == trt.written == b"kernels:1x3x6x6"
    with opened(gpu, rtx=True, trt=trt, cache=path) as backend:
        backend.infer(batch_of(1, 9, 9))
    assert cache_file.read(path) == b"kernels:1x3x6x6;1x3x9x9"
    before = path.stat().st_mtime_ns
    with opened(gpu, rtx=True, trt=trt, cache=path) as backend:
        backend.infer(batch_of(1, 9, 9))
    assert path.stat().st_mtime_ns == before  # nothing new: nothing written


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "not ours", "of another driver", "a folder"])
def test_a_cache_that_is_no_good_is_made_anew(gpu, tmp_path, damage):
    path = tmp_path / "x.plan.cache"
    cache_file.write(path, b"kernels:1x3x9x9")
    content = path.read_bytes()
    match damage:
        case "flipped":
            path.write_bytes(content[:-1] + b"x")
        case "cut":
            path.write_bytes(content[:-3])
        case "empty":
            path.write_bytes(b"")
        case "not ours":
            path.write_bytes(b"kernels:1x3x9x9")
        case "of another driver":
            cache_file.write(path, b"elsewhere")
        case "a folder":
            path.unlink()
            path.mkdir()
    with opened(gpu, rtx=True, cache=path) as backend:
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))
    assert cache_file.read(path) == (b"" if damage == "a folder" else b"kernels:1x3x6x6")


def test_a_cache_is_no_reason_to_fail(gpu, tmp_path):
    trt = TensorRt(gpu, rtx=True, plan=PLAN)
    backend = opened(gpu, rtx=True, trt=trt, cache=tmp_path / "nowhere" / "x.cache")
    backend.infer(batch_of(1, 6, 6))
    backend.close()
    trt.refuses = {"serialize"}
    opened(gpu, rtx=True, trt=trt, cache=tmp_path / "x.cache").close()
    assert list(tmp_path.iterdir()) == []
    trt.refuses = {"serialize raises"}  # the rest is freed all the same
    with pytest.raises(MemoryError):
        opened(gpu, rtx=True, trt=trt, cache=tmp_path / "x.cache").close()


def test_an_engine_that_is_refused_leaves_no_cache(gpu, tmp_path):
    with pytest.raises(ModelRefused):
        opened(gpu, rtx=True, plan=Plan(dtypes=(DataType.HALF,) * 2), cache=tmp_path / "x.cache")
    assert list(tmp_path.iterdir()) == []


def test_only_rtx_has_a_cache(gpu, tmp_path):
    with opened(gpu, cache=tmp_path / "x.cache") as backend:
        backend.infer(batch_of(1, 6, 6))
    assert list(tmp_path.iterdir()) == []
