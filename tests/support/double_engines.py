"""Backends of engines on doubles of a GPU, batches for them, and what they ought to compute."""

import dataclasses
from collections import deque

import numpy as np
import plans
import pytest
from doubles import SCHEDULES, Plan, TensorRt, nearest

from gpsr_deploy.backends.cuda import Cuda
from gpsr_deploy.backends.tensorrt import TensorRtBackend
from gpsr_deploy.spec import Profile

PLAN = Plan()
PROFILE = Profile(min=(6, 6), opt=(12, 15), max=(60, 60), batch=2)
"""What PLAN says of itself."""

FLAVOURS = pytest.mark.parametrize("rtx", [False, True], ids=["tensorrt", "rtx"])
ANY_SCHEDULE = pytest.mark.parametrize("schedule", SCHEDULES)


def spec_of(plan=PLAN, *, rtx=False, **changes):
    spec = plans.spec_of(plan.content, profile=PROFILE, runtime="tensorrt-rtx" if rtx else "tensorrt")
    return dataclasses.replace(spec, sr=dataclasses.replace(spec.sr, halo=3), **changes)


def opened(gpu, *, rtx=False, plan=PLAN, refuses=(), cache=None, index=0, trt=None, engine="ours"):
    """A backend on the double; `engine` None: without a sidecar."""
    return TensorRtBackend(
        plan.content,
        spec_of(plan, rtx=rtx) if engine == "ours" else engine,
        runtime="tensorrt-rtx" if rtx else "tensorrt",
        trt=trt or TensorRt(gpu, rtx=rtx, plan=plan, refuses=refuses),
        cuda=Cuda(gpu, index),
        cache=cache,
    )


def batch_of(number, height, width, *, seed=0):
    random = np.random.default_rng((seed, number, height, width))
    return random.random((number, 3, height, width), np.float32)


def batches_of(count, *, size=(1, 12, 15)):
    return [batch_of(*size, seed=seed) for seed in range(count)]


def drained(generator):
    """Runs a generator to its end, for nothing but what it does."""
    deque(generator, maxlen=0)


class Plain:
    """What the engine computes, without a GPU."""

    runtime, precision, device, bytes_per_pixel = "plain", "fp32", "cpu", 100

    def __init__(self):
        self.spec, self.profile = spec_of().sr, PROFILE

    def infer(self, batch):
        return nearest(batch)

    def close(self):
        pass
