"""One contract for every backend, checked against torch; and what open_backend says where it cannot open one."""

import os
import pickle
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as states
from project import ROOT
from sealed import onnx_bytes

import gpsr_deploy
from gpsr_deploy.backends import onnxruntime as ort_backend
from gpsr_deploy.backends import open_backend
from gpsr_deploy.errors import BackendUnavailable, InputUnreadable, ModelRefused, OutOfMemory, UsageError
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.model_files.onnx import SPEC_KEY
from gpsr_deploy.network.gpsr import build

KINDS = {
    "torch": (".safetensors", None, "cpu"),
    "torch-cuda": (".safetensors", None, "cuda"),
    "onnxruntime": (".onnx", None, "cpu"),
    "onnxruntime-cuda": (".onnx", "onnxruntime", "cuda"),
    "openvino": (".onnx", "openvino", "cpu"),
}
"""Suffix, runtime and device that open_backend is asked for."""

ALL_KINDS = [pytest.param(kind, marks=pytest.mark.gpu if "cuda" in kind else ()) for kind in KINDS]
ON_THE_CPU = pytest.mark.parametrize("kind", [kind for kind in KINDS if "cuda" not in kind])

CPU = "CPUExecutionProvider"

TOLERANCE = 1e-5
"""Largest difference from torch, of values around 1: what INTERFACE's export promises. Each of the runtimes, torch too, is
1e-6 from float64; they add in another order. OpenVINO computes in float32 because it is told to: bfloat16 would be 1e-2."""

SIZES = pytest.mark.parametrize("size", [(1, 3, 3), (2, 3, 6), (3, 12, 9), (1, 24, 60), (5, 6, 6)], ids=str)


@pytest.fixture(scope="module")
def path_of(checkpoint_path, onnx_path):
    """The same network by suffix."""
    return {".safetensors": checkpoint_path, ".onnx": onnx_path}


def open_kind(kind, path_of):
    suffix, runtime, device = KINDS[kind]
    if kind == "onnxruntime-cuda" and ort_backend.CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA")
    return open_backend(path_of[suffix], runtime=runtime, device=device, threads=1)


@pytest.fixture(scope="module", params=ALL_KINDS)
def backend(request, path_of):
    with open_kind(request.param, path_of) as opened:
        yield opened


@pytest.fixture
def reference(nano):
    """What torch makes of a batch, on the CPU."""

    def infer(batch):
        with torch.inference_mode():
            return nano(torch.from_numpy(batch.copy())).numpy()

    return infer


def random_batch(number, height, width):
    return np.random.default_rng(number * height).random((number, 3, height, width), np.float32)


# --- the contract ---


def test_it_says_what_it_does(backend, checkpoint_path):
    spec = backend.spec
    assert (spec.name, spec.scale, spec.multiple_of, spec.tiling, spec.dtype) == (
        "gpsr-nano-x4",
        4,
        3,
        "aligned",
        "fp32",
    )
    assert spec.checkpoint_sha256 == checkpoint_file.read_info(checkpoint_path).sha256
    assert backend.profile is None
    assert backend.runtime in ("torch", "onnxruntime", "openvino")
    assert re.fullmatch("cpu|cuda(:[0-9]+)?", backend.device)
    assert backend.bytes_per_pixel >= 3 * 4 * (1 + spec.scale**2)  # the input and the output at the very least


@SIZES
def test_it_gives_what_torch_gives(backend, reference, size):
    batch = random_batch(*size)
    found = backend.infer(batch)
    assert found.dtype == np.float32
    assert found.shape == (size[0], 3, 4 * size[1], 4 * size[2])
    assert np.abs(found - reference(batch)).max() <= TOLERANCE


def test_the_same_batch_gives_the_same_bits(backend):
    batch = random_batch(2, 12, 9)
    first = backend.infer(batch)
    backend.infer(random_batch(1, 24, 24))
    assert np.array_equal(backend.infer(batch), first)


def test_a_result_is_the_callers_own(backend):
    first = backend.infer(random_batch(1, 6, 9))
    kept = first.copy()
    second = backend.infer(random_batch(1, 6, 9)[:, ::-1].copy())
    assert np.array_equal(first, kept)
    assert not np.shares_memory(first, second)
    first[:] = 0  # and may be written to


def test_the_input_is_only_read_in_any_layout(backend, reference):
    batch = random_batch(1, 6, 9)
    before = batch.copy()
    batch.setflags(write=False)
    wanted = reference(batch)
    for layout in (batch, np.asfortranarray(batch), batch.astype(np.float32)[:, ::-1][:, ::-1]):
        assert np.abs(backend.infer(layout) - wanted).max() <= TOLERANCE
    assert np.array_equal(batch, before)


def test_no_global_is_left_changed(backend):
    before = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    backend.infer(random_batch(1, 3, 3))
    assert (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()) == before


@pytest.mark.parametrize("shape", [(1, 1, 6, 6), (1, 4, 6, 6), (1, 3, 4, 6), (1, 3, 6, 8)], ids=str)
def test_a_batch_that_the_network_does_not_take_is_refused(backend, shape):
    """And never answered with the pixels of the batch before."""
    backend.infer(random_batch(1, 6, 6))
    with pytest.raises(ModelRefused, match=r"error\[5\]"):
        backend.infer(np.zeros(shape, np.float32))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_closing_twice_is_harmless(path_of, kind):
    opened = open_kind(kind, path_of)
    with opened as entered:
        assert entered is opened
        opened.close()
    opened.close()


# --- devices ---


@ON_THE_CPU
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:99"])
def test_a_gpu_that_is_not_there_is_refused_with_the_way_out(path_of, kind, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    suffix, runtime, _ = KINDS[kind]
    with pytest.raises(BackendUnavailable, match=r"error\[5\].*--device cpu"):
        open_backend(path_of[suffix], runtime=runtime, device=device)


@pytest.mark.parametrize("device", ["gpu", "CPU", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "cudax"])
def test_a_device_that_is_none_is_a_usage_error(path_of, device):
    with pytest.raises(UsageError, match=r"error\[2\]"):
        open_backend(path_of[".safetensors"], device=device)


# --- ONNX Runtime on a GPU: doubles stand in for the module and for CUDA ---


@pytest.fixture
def gpu_machine(monkeypatch):
    """ONNX Runtime with its CUDA provider, on a machine with one GPU. The sessions are real ones, on the CPU.

    What a test changes: `providers` that are there, `started` of a session, what `refuses` to start, what a `run` raises,
    `gpus` (None: cuda-bindings is not installed), `free` bytes. What it finds: the arguments of each session, `asked`.
    """
    machine = SimpleNamespace(
        providers=[ort_backend.CUDA, CPU], started=None, refuses=None, run=None, gpus=1, free=1 << 40, asked=[]
    )

    class Session(onnxruntime.InferenceSession):
        def __init__(self, content, options, **asked):
            machine.asked.append(asked)
            self.names = [name if isinstance(name, str) else name[0] for name in asked["providers"]]
            if machine.refuses and ort_backend.CUDA in self.names:
                raise machine.refuses
            super().__init__(content, options, providers=[CPU])

        def get_providers(self):
            return machine.started or self.names

        def run(self, *arguments):
            if machine.run:
                raise machine.run
            return super().run(*arguments)

    class Cuda:
        def cudaGetDeviceCount(self):
            return (0, machine.gpus) if machine.gpus else (100, None)

        def cudaSetDevice(self, index):
            return (0,)

        def cudaGetDeviceProperties(self, index):
            return 0, SimpleNamespace(name=b"GPU", major=8, minor=9)

        def cudaMemGetInfo(self):
            return 0, machine.free, 1 << 40

    def bindings():
        if machine.gpus is None:
            raise BackendUnavailable("cuda-bindings is not installed")
        return Cuda()

    double = SimpleNamespace(**vars(onnxruntime))
    double.InferenceSession = Session
    double.get_available_providers = lambda: machine.providers
    double.preload_dlls = lambda: print("Failed to load libcudnn")
    monkeypatch.setattr(ort_backend, "onnxruntime", double)
    monkeypatch.setattr(ort_backend, "bindings", bindings)
    return machine


@pytest.mark.parametrize(
    ("device", "change", "found"),
    [
        ("auto", {}, "cuda:0"),
        ("auto", {"gpus": 0}, "cpu"),
        ("auto", {"providers": [CPU]}, "cpu"),
        ("auto", {"gpus": None}, "cuda:0"),
        ("auto", {"gpus": None, "started": [CPU]}, "cpu"),
        ("auto", {"gpus": None, "refuses": RuntimeError("CUDA failure 100")}, "cpu"),
        ("cpu", {}, "cpu"),
        ("cuda", {}, "cuda:0"),
        ("cuda:1", {"gpus": 2}, "cuda:1"),
    ],
)
def test_onnx_runtime_takes_the_gpu_where_there_is_one(path_of, gpu_machine, capfd, device, change, found):
    vars(gpu_machine).update(change)
    with open_backend(path_of[".onnx"], device=device, threads=1) as opened:
        assert opened.device == found
        assert opened.infer(random_batch(1, 3, 3)).shape == (1, 3, 12, 12)
    asked = gpu_machine.asked[-1]
    if found == "cpu":
        assert asked == {"providers": [CPU]}
    else:
        ((provider, options),) = asked["providers"]
        assert (provider, options["device_id"], options["use_tf32"]) == (ort_backend.CUDA, found[-1], "0")
        assert asked["enable_fallback"] == 0
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
@pytest.mark.parametrize(
    "change",
    [{"started": [CPU]}, {"refuses": RuntimeError("no device")}, {"refuses": states.EPFail("no device")}],
    ids=["in silence", "RuntimeError", "EPFail"],
)
def test_a_gpu_that_is_there_and_does_not_start_is_refused_and_not_replaced_by_the_cpu(
    path_of, gpu_machine, capfd, device, change
):
    vars(gpu_machine).update(change)
    with pytest.raises(
        BackendUnavailable, match=r"error\[5\].*(libcudnn|no device).*gpsr-deploy\[cuda\].*--device cpu"
    ):
        open_backend(path_of[".onnx"], device=device)
    assert len(gpu_machine.asked) == 1
    assert capfd.readouterr().out == ""


def test_a_graph_that_is_no_good_is_not_blamed_on_the_gpu(path_of, gpu_machine):
    gpu_machine.refuses = states.InvalidGraph("no such input")
    with pytest.raises(ModelRefused, match="cannot run the model") as caught:
        open_backend(path_of[".onnx"], device="cuda")
    assert not isinstance(caught.value, BackendUnavailable)


@pytest.mark.parametrize(
    ("change", "raised"),
    [
        ({"free": 1000}, OutOfMemory),
        ({}, ModelRefused),
        ({"gpus": None}, ModelRefused),
    ],
    ids=["a full GPU", "an empty one", "unknown"],
)
@pytest.mark.parametrize("failure", [states.RuntimeException, states.Fail, RuntimeError])
def test_a_full_gpu_is_told_from_other_failures_by_what_is_free(path_of, gpu_machine, change, raised, failure):
    vars(gpu_machine).update(change)
    with open_backend(path_of[".onnx"], device="cuda", threads=1) as opened:
        gpu_machine.run = failure("something failed")
        with pytest.raises(raised):
            opened.infer(random_batch(1, 6, 6))
        gpu_machine.run = None
        assert opened.infer(random_batch(1, 6, 6)).shape == (1, 3, 24, 24)


def test_memory_of_the_gpu_does_not_matter_on_the_cpu(path_of, gpu_machine):
    gpu_machine.free = 0
    with open_backend(path_of[".onnx"], device="cpu", threads=1) as opened:
        gpu_machine.run = states.Fail("something failed")
        with pytest.raises(ModelRefused):
            opened.infer(random_batch(1, 6, 6))


# --- files ---


@pytest.mark.parametrize("suffix", ["", ".txt", ".png", ".json", ".pth", ".pt", ".ckpt", ".bin", ".pkl", ".PTH"])
def test_a_file_that_is_no_model_is_refused_without_being_opened(tmp_path, suffix):
    """There is none: opening it would end as an unreadable input, exit code 3."""
    with pytest.raises(ModelRefused, match=r"error\[5\]"):
        open_backend(tmp_path / f"model{suffix}")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx"])
def test_nothing_in_a_pickle_runs(tmp_path, suffix):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelRefused):
        open_backend(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_a_missing_model_is_an_unreadable_input(tmp_path, suffix):
    with pytest.raises(InputUnreadable, match=r"error\[3\].*model"):
        open_backend(tmp_path / f"model{suffix}")


@pytest.mark.parametrize(
    ("suffix", "runtime"), [(".onnx", "torch"), (".safetensors", "onnxruntime"), (".safetensors", "openvino")]
)
def test_a_runtime_that_does_not_take_the_file_is_a_usage_error(path_of, suffix, runtime):
    with pytest.raises(UsageError, match=rf"error\[2\].*{runtime}"):
        open_backend(path_of[suffix], runtime=runtime)


def test_a_suffix_counts_in_any_case(tmp_path, path_of):
    path = tmp_path / "MODEL.ONNX"
    path.write_bytes(path_of[".onnx"].read_bytes())
    with open_backend(path, threads=1) as opened:
        assert opened.runtime == "onnxruntime"


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_graph_that_the_runtime_cannot_run_is_refused(tmp_path, path_of, runtime):
    model = onnx.load(path_of[".onnx"])
    next(node for node in model.graph.node if node.op_type == "Conv").input[1] = "nowhere"
    path = tmp_path / "x.onnx"
    path.write_bytes(onnx_bytes(model))
    with pytest.raises(ModelRefused) as caught:
        open_backend(path, runtime=runtime)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_graph_of_another_scale_than_its_spec_says_is_refused(tmp_path, path_of, runtime):
    """Pixels would land in the wrong places."""
    model = onnx.load(path_of[".onnx"])
    spec = next(entry for entry in model.metadata_props if entry.key == SPEC_KEY)
    spec.value = spec.value.replace('"scale": 4', '"scale": 8')
    path = tmp_path / "x.onnx"
    path.write_bytes(onnx_bytes(model))
    with pytest.raises(ModelRefused), open_backend(path, runtime=runtime, threads=1) as opened:
        opened.infer(random_batch(1, 6, 6))


@pytest.mark.parametrize(
    ("module", "suffix", "runtime", "remedy"),
    [
        ("torch", ".safetensors", "torch", "gpsr-deploy[train]"),
        ("onnxruntime", ".onnx", "onnxruntime", "gpsr-deploy[cpu]"),
        ("onnx", ".onnx", "onnxruntime", "gpsr-deploy[cpu]"),
        ("openvino", ".onnx", "openvino", "gpsr-deploy[openvino]"),
        ("onnx", ".onnx", "openvino", "gpsr-deploy[openvino]"),
    ],
)
def test_a_runtime_that_is_not_installed_names_its_extra(path_of, module, suffix, runtime, remedy):
    code = f"""
import sys, pathlib
sys.modules[{module!r}] = None
from gpsr_deploy.backends import open_backend
from gpsr_deploy.errors import BackendUnavailable
try:
    open_backend(pathlib.Path(sys.argv[1]), runtime={runtime!r})
except BackendUnavailable as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", code, path_of[suffix]], capture_output=True, text=True, cwd=ROOT)
    assert found.stdout.startswith("error[5] "), found.stderr
    assert remedy in found.stdout


def test_float16_weights_give_a_float32_network(tmp_path, nano):
    path = tmp_path / "half.safetensors"
    checkpoint_file.save(nano, path, member="nano", training={}, half=True)
    assert {str(value.dtype) for value in safetensors.torch.load_file(path).values()} == {"torch.float16"}
    with open_backend(path, device="cpu", threads=1) as opened:
        assert opened.infer(random_batch(1, 3, 3)).dtype == np.float32


# --- load ---


def test_load_gives_an_upscaler(path_of, photo):
    lr = photo[:10, :20]
    with gpsr_deploy.load(path_of[".onnx"], scale=4, threads=1) as upscale:
        assert upscale(lr).shape == (40, 80, 3)


def test_weights_of_another_scale_than_asked_are_refused_naming_both(tmp_path, path_of):
    path = tmp_path / "x8.safetensors"
    checkpoint_file.save(build("nano", scale=8), path, member="nano", training={})
    for model, scale, found in ((path, 4, 8), (path_of[".onnx"], 8, 4)):
        with pytest.raises(ModelRefused, match=rf"error\[5\].* {found} times.*scale {scale}"):
            gpsr_deploy.load(model, scale=scale)


def test_a_scale_that_no_model_ships_for_is_a_usage_error():
    with pytest.raises(UsageError, match="no model ships for scale 3"):
        gpsr_deploy.load(scale=3)


# --- memory ---

LIMITED = """
import resource, sys, pathlib, numpy as np
from gpsr_deploy.backends import open_backend
from gpsr_deploy.errors import GpsrError
path, runtime = pathlib.Path(sys.argv[1]), sys.argv[2]
first, second = np.random.default_rng(0).random((2, 1, 3, 12, 12), np.float32)
with open_backend(path, runtime=runtime, device="cpu", threads=1) as backend:
    wanted = backend.infer(first).copy()
    backend.infer(second)
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)
    try:
        backend.infer(np.zeros((1, 3, 1200, 1200), np.float32))
    except GpsrError as error:
        print(error)
    print("next:", np.array_equal(backend.infer(first), wanted))
"""


@ON_THE_CPU
def test_memory_that_runs_out_is_told_from_other_failures_and_survived(path_of, kind):
    """The next batch gets its own pixels, and neither the failure nor the pixels of an earlier one."""
    path = path_of[KINDS[kind][0]]
    found = subprocess.run([sys.executable, "-c", LIMITED, path, kind], capture_output=True, text=True, cwd=ROOT)
    assert found.stdout.startswith("error[6] "), found.stdout + found.stderr
    assert found.stdout.endswith("next: True\n"), found.stdout + found.stderr


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_closed_backend_says_so(path_of, kind):
    opened = open_kind(kind, path_of)
    opened.close()
    with pytest.raises(UsageError, match="closed"):
        opened.infer(random_batch(1, 6, 6))
