"""Engines for tests: plans made by hand with the headers of real ones, their sidecars, one real plan, and doubles."""

import dataclasses
import hashlib
from functools import cache

from gpsr_deploy import models
from gpsr_deploy.backends import flavours
from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend
from gpsr_deploy.backends.tensorrt import TensorRtBackend
from gpsr_deploy.building.build import build
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.spec import Costs, EngineSpec, Parity, Profile, SRSpec

GPUS = ("8.6", "8.9", "12.0")
MASKS = {name: bit for bit, name in engine_file.CAPABILITY_BITS.items()}
VERSION = (1, 7, 1, 116)
PROFILE = Profile(min=(3, 3), opt=(48, 60), max=(96, 120), batch=2)
PARITY = Parity(images=9, psnr_db=101.5, max_level=1, share_off_by_one=0.25, gpu="NVIDIA Test 4090")
SR = SRSpec(
    name="gpsr-nano-x4", scale=4, halo=24, multiple_of=3, tiling="aligned", dtype="fp32", checkpoint_sha256="0a" * 32
)


def plan(gpus=GPUS, *, version=VERSION, magic=b"vtrt", body=bytes(range(256))):
    """A plan's header as TensorRT-RTX writes it, before a body that is none."""
    size = (engine_file.HEADER_BYTES + len(body)).to_bytes(8, "little")
    mask = sum(MASKS[gpu] for gpu in gpus).to_bytes(4, "little")
    head = magic + bytes(4) + b"\2" + bytes(7) + size + bytes(version) + magic + mask
    return head.ljust(engine_file.HEADER_BYTES, b"\0") + body


def spec_of(content, **changes):
    """A sidecar for `content`, which is for GPUS and of VERSION unless `changes` say something else."""
    valid = EngineSpec(
        sr=SR,
        costs=Costs(params=150_677, macs_720p=1.72e10, activation_bytes=4000),
        profile=PROFILE,
        runtime="tensorrt-rtx",
        runtime_version=".".join(map(str, VERSION)),
        compute_capabilities=GPUS,
        weights={"fp32": 1.0},
        plan_sha256=hashlib.sha256(content).hexdigest(),
        onnx_sha256="0b" * 32,
        parity=None,
    )
    return dataclasses.replace(valid, **changes)


def write(folder, content=None, *, name="x.plan", **changes):
    """An engine in `folder`: its path."""
    content = plan() if content is None else content
    engine_file.write(folder / name, content, spec_of(content, **changes))
    return folder / name


@cache
def real():
    """(plan, spec) of the model that ships, built by TensorRT-RTX."""
    return build(
        onnx_file.read(models.shipped(4)),
        PROFILE,
        runtime="tensorrt-rtx",
        trt=flavours.module_of("tensorrt-rtx"),
        compute_capabilities=GPUS,
    )


class Changed:
    """Something of TensorRT's with other attributes here and there; what else is asked of it, or set, reaches the real one."""

    def __init__(self, real, **changes):
        vars(self).update(real=real, changes=changes)

    def __getattr__(self, name):
        return self.changes[name] if name in self.changes else getattr(self.real, name)

    def __setattr__(self, name, value):
        setattr(self.real, name, value)


def with_builder(change):
    """TensorRT-RTX with the attributes that `change` makes from each of its builders."""
    trt = flavours.module_of("tensorrt-rtx")

    def builder(log):
        real = trt.Builder(log)
        return Changed(real, **change(real))

    return Changed(trt, Builder=builder)


def with_config(change):
    """TensorRT-RTX with the attributes that `change` makes from each builder's configuration; it still builds."""

    def changed(builder):
        def config():
            real = builder.create_builder_config()
            return Changed(real, **change(real))

        return {
            "create_builder_config": config,
            "build_serialized_network": lambda network, config: builder.build_serialized_network(network, config.real),
        }

    return with_builder(changed)


@cache
def network_of(model):
    """The model in ONNX Runtime, opened once: that takes longer than it runs here."""
    return OnnxRuntimeBackend(model, device="cpu")


class FakeEngine(TensorRtBackend):
    """An engine that runs on the CPU, and may compute something else than its model."""

    def __init__(self, spec, model, wrong=lambda sr: sr):
        self.runtime, self.device, self.gpu = spec.runtime, "cuda:0", "NVIDIA Test 4090"
        self.engine, self.spec, self.profile = spec, spec.sr, spec.profile
        self.shapes, self.closed = [], False
        self._network, self._wrong = network_of(model), wrong

    def infer(self, batch):
        assert self.profile.takes(batch.shape[2:])
        assert len(batch) <= self.profile.batch
        self.shapes.append(batch.shape)
        return self._wrong(self._network.infer(batch))

    def close(self):
        self.closed = True
