"""Engine files: which are opened, and what is refused before CUDA or TensorRT is asked."""

import numpy as np
import plans
import pytest
from double_engines import PROFILE, batch_of
from doubles import Plan, TensorRt, nearest, real

from gpsr_deploy.backends import flavours, open_backend, tensorrt
from gpsr_deploy.errors import BackendUnavailable, InputUnreadable, ModelRefused, UsageError
from gpsr_deploy.model_files import cache as cache_file
from gpsr_deploy.model_files import engine as engine_file


@pytest.fixture
def machine(monkeypatch, gpu):
    """A machine with that GPU and both TensorRTs, which load what `content` is set to."""
    monkeypatch.setattr(tensorrt, "bindings", lambda: gpu)
    loaded = []

    def module_of(runtime):
        loaded.append(runtime)
        return TensorRt(gpu, rtx=runtime == "tensorrt-rtx", plan=Plan(content=gpu.content), version=gpu.version)

    monkeypatch.setattr(flavours, "module_of", module_of)
    gpu.loaded, gpu.version = loaded, "1.7.1.116"
    return gpu


def engine_on(machine, folder, **changes):
    machine.content = plans.plan()
    return plans.write(folder, machine.content, profile=PROFILE, **changes)


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
@pytest.mark.parametrize("runtime", [None, "tensorrt-rtx"])
def test_an_engine_is_opened_by_its_suffix(machine, tmp_path, device, runtime):
    path = engine_on(machine, tmp_path)
    with open_backend(path, device=device, runtime=runtime) as backend:
        assert (backend.runtime, backend.device) == ("tensorrt-rtx", "cuda:0")
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))
    assert cache_file.read(tmp_path / "x.plan.cache") == b"kernels:1x3x6x6"


@pytest.mark.parametrize(
    ("asked", "raised", "says"),
    [
        ({"device": "cpu"}, BackendUnavailable, r"error\[5\].*\.onnx"),
        ({"device": "cuda:1"}, BackendUnavailable, r"error\[5\].*cuda:0 to cuda:0"),
        ({"runtime": "tensorrt"}, UsageError, r"error\[2\].*tensorrt-rtx"),
    ],
)
def test_what_cannot_be_is_told_with_the_file(machine, tmp_path, asked, raised, says):
    path = engine_on(machine, tmp_path)
    with pytest.raises(raised, match=says) as caught:
        open_backend(path, **asked)
    assert caught.value.path == path
    assert machine.loaded == []


@pytest.mark.parametrize("status", [35, 100])
def test_without_a_driver_no_tensorrt_is_imported(machine, tmp_path, status):
    """Its runtime would end the process."""
    path = engine_on(machine, tmp_path)
    machine.answers["cudaGetDeviceCount"] = real.cudaError_t(status)
    with pytest.raises(BackendUnavailable, match=r"no CUDA device.*--device cpu"):
        open_backend(path)
    assert machine.loaded == []


def test_without_a_gpu_no_tensorrt_is_imported(machine, tmp_path):
    machine.count = 0
    with pytest.raises(BackendUnavailable, match="no CUDA device"):
        open_backend(engine_on(machine, tmp_path))
    assert machine.loaded == []


@pytest.mark.parametrize(
    ("version", "changes", "says"),
    [
        ("1.7.2.5", {}, "1.7.2.5, which is installed here"),
        ("1.7.1.116", {"gpus": ("8.6", "12.0")}, "8.9, which is this GPU's"),
    ],
)
def test_an_engine_for_another_machine_is_refused_before_it_is_loaded(machine, tmp_path, version, changes, says):
    machine.version = version
    gpus = changes.get("gpus", plans.GPUS)
    machine.content = plans.plan(gpus)
    path = plans.write(tmp_path, machine.content, profile=PROFILE, compute_capabilities=gpus)
    with pytest.raises(ModelRefused, match=says) as caught:
        open_backend(path)
    assert caught.value.path == path
    assert not machine.names("deserialize_cuda_engine")


def test_a_damaged_engine_is_refused_before_cuda_is_asked(machine, tmp_path):
    path = engine_on(machine, tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelRefused, match="SHA-256"):
        open_backend(path)
    assert machine.calls == []
    with pytest.raises(InputUnreadable):
        open_backend(tmp_path / "nowhere.plan")


def test_another_scale_is_refused_before_cuda_is_asked_and_without_a_sidecar_after(machine, tmp_path):
    path = engine_on(machine, tmp_path)
    with pytest.raises(ModelRefused, match="8") as caught:
        open_backend(path, scale=8)
    assert caught.value.path == path
    assert machine.calls == []
    open_backend(path, scale=4).close()
    engine_file.sidecar_path(path).unlink()
    with pytest.raises(ModelRefused, match="8"):
        open_backend(path, scale=8, trust_engine=True)


def test_an_engine_without_a_sidecar_is_opened_for_who_trusts_it(machine, tmp_path):
    path = engine_on(machine, tmp_path)
    engine_file.sidecar_path(path).unlink()
    with pytest.raises(ModelRefused, match="--trust-engine"):
        open_backend(path)
    assert machine.calls == []
    with open_backend(path, trust_engine=True) as backend:
        assert backend.engine is None
        assert np.array_equal(backend.infer(batch_of(1, 6, 6)), nearest(batch_of(1, 6, 6)))


def test_trust_does_not_pass_over_a_sidecar(machine, tmp_path):
    path = engine_on(machine, tmp_path)
    engine_file.sidecar_path(path).write_text("{}")
    with pytest.raises(ModelRefused):
        open_backend(path, trust_engine=True)
    assert not machine.names("deserialize_cuda_engine")


def test_an_error_at_the_beginning_names_the_file(machine, tmp_path):
    path = engine_on(machine, tmp_path)
    machine.content = b"another"
    with pytest.raises(ModelRefused, match="no plan of mine") as caught:
        open_backend(path)
    assert caught.value.path == path
