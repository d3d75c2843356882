"""Builds of the model that ships, on TensorRT-RTX that is doubled here and there, and on a GPU that is a double."""

import sys
from types import SimpleNamespace

import plans
from plans import GPUS, PROFILE

from gpsr_deploy import models
from gpsr_deploy.backends import flavours
from gpsr_deploy.building.build import build
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files import onnx as onnx_file

MODEL = models.shipped(4)
SIZES = ["--min", "3x3", "--opt", "48x60", "--max", "96x120", "--batch", "2"]
COMMAND = [sys.executable, "-m", "gpsr_deploy", "build", str(MODEL), *SIZES]


def made(model, trt, **changes):
    """`build` with what these tests use."""
    asked = {"runtime": "tensorrt-rtx", "compute_capabilities": GPUS} | changes
    return build(model, asked.pop("profile", PROFILE), trt=trt, **asked)


def giving(content):
    """TensorRT-RTX that gives `content` as the plan, and does not build."""
    return plans.with_builder(lambda _builder: {"build_serialized_network": lambda network, config: content})


def install(monkeypatch, trt):
    """Makes `trt` what is installed as either TensorRT."""
    monkeypatch.setattr(flavours, "module_of", lambda runtime: trt)


class FakeCuda:
    """A GPU of compute capability 8.9."""

    def __init__(self, api, index=0):
        self.index, self.name, self.compute_capability = index, "NVIDIA Test 4090", "8.9"


def no_device():
    from cuda.bindings import runtime

    return SimpleNamespace(cudaGetDeviceCount=lambda: (runtime.cudaError_t.cudaErrorInsufficientDriver, None))


def without_gpu(monkeypatch):
    """No driver that fits CUDA."""
    for module in ("gpsr_deploy.backends.cuda", "gpsr_deploy.building.make_engine"):
        monkeypatch.setattr(f"{module}.bindings", no_device)


def with_gpu(monkeypatch, wrong=lambda sr: sr):
    """A GPU on which engines compute what their model computes, made `wrong`. Returns the engines that were opened."""
    opened = []

    def open_plan(plan, spec, *, runtime, trt, cuda, cache=None):
        assert engine_file.header(plan).runtime == runtime == spec.runtime
        opened.append(plans.FakeEngine(spec, onnx_file.read(MODEL), wrong))
        return opened[-1]

    for module in ("gpsr_deploy.backends.cuda", "gpsr_deploy.building.make_engine"):
        monkeypatch.setattr(f"{module}.bindings", object)
        monkeypatch.setattr(f"{module}.Cuda", FakeCuda)
    monkeypatch.setattr("gpsr_deploy.backends.tensorrt.TensorRtBackend", open_plan)
    return opened
