"""The double of TensorRT's execution context: what is bound, and the kernel that runs with it."""

import weakref
from collections import Counter

import numpy as np

from doubles.trt_types import (
    Dims,
    DynamicShapesKernelSpecializationStrategy,
    ExecutionContextAllocationStrategy,
    TensorIOMode,
)
from doubles.work import Work


def nearest(batch, scale=4):
    """What every engine here computes: pixels repeated, on another scale of brightness, so that no copy looks like it."""
    sr = batch.repeat(scale, axis=2).repeat(scale, axis=3)
    return sr * np.float32(0.75) + np.float32(0.125)


class ExecutionContext:
    """Binds shapes and addresses, and queues the kernel."""

    def __init__(self, engine, settings):
        self.engine, self.trt, self.gpu, self.plan = engine, engine.trt, engine.trt.gpu, engine.plan
        self.settings = settings
        self.strategy = settings if isinstance(settings, ExecutionContextAllocationStrategy) else settings.strategy
        self.cache = getattr(settings, "cache", None)
        self.shape, self.addresses, self.scratch = None, {}, None
        self.warm = False
        """Whether it ran since the last change of its shape: only then can it be captured."""
        self.binding = 0
        """How often it was bound anew: a graph is good for the binding that it was captured with."""
        self.ran = Counter()
        self.faults = self.gpu.faults
        self.gpu.objects.add(self)
        self._current("is made")

    def __del__(self):
        if self.cache is not None and self.cache() is None:
            self.faults.append("the cache of kernels died before a context that uses it")
        self._idle("dies")

    def set_input_shape(self, name, shape):
        assert type(shape) is tuple
        assert all(type(size) is int for size in shape)
        low, _, high = self.plan.sizes
        taken = all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True))
        if name != self._names(TensorIOMode.INPUT)[0] or not taken or "set_input_shape" in self.trt.refuses:
            self.trt.says(self.engine.log, f"{shape} is outside the profile")
            return False
        self._idle("is bound anew")
        self.shape, self.scratch, self.warm = shape, None, False
        self.binding += 1
        return True

    def infer_shapes(self):
        refuses, unknown = self.trt.refuses, self.shape is None
        del self  # no frame of C++ would keep it in a traceback
        if "infer_shapes raises" in refuses:
            raise RuntimeError("shape inference failed")
        return ["lr"] if "infer_shapes" in refuses or unknown else []

    def get_tensor_shape(self, name):
        return Dims(self.shape if name in self._names(TensorIOMode.INPUT) else self.plan.result_of(self.shape))

    def set_tensor_address(self, name, memory):
        assert type(memory) is int
        if "set_tensor_address" in self.trt.refuses or name not in [tensor for tensor, _ in self.plan.tensors]:
            return False
        self.addresses[name] = memory
        self.warm = False
        self.binding += 1
        return True

    def update_device_memory_size_for_shapes(self):
        return 0 if self.shape is None else self.plan.scratch(self.shape)

    def set_device_memory(self, memory, size):
        assert type(memory) is type(size) is int
        if self.strategy != ExecutionContextAllocationStrategy.USER_MANAGED:
            self.faults.append("memory for a context that has its own")
        if memory % 256 or size < self.plan.scratch(self.shape):
            self.trt.says(self.engine.log, "no such memory")  # which is all that the real one does
            return
        self.scratch = memory, size

    def execute_async_v3(self, stream_handle):
        assert type(stream_handle) is int
        self.gpu.calls.append(("execute_async_v3", self.shape))
        self._current("runs")
        queue = self.gpu.queue_of(stream_handle)
        names = [tensor for tensor, _ in self.plan.tensors]
        ready = self.shape is not None and self.scratch is not None and set(self.addresses) == set(names)
        if queue is None or not ready or "execute_async_v3" in self.trt.refuses:
            self.trt.says(self.engine.log, "not everything is set")
            return False
        if queue.capture is not None and (self.trt.rtx or not self.warm or "capture" in self.trt.refuses):
            queue.spoiled = True
            self.trt.says(self.engine.log, "this cannot be captured")
            return False
        if any(self.scratch[0] in work.uses for work in self.gpu._pending(but=queue)):
            self.faults.append("scratch memory that another stream uses")
        self.warm = queue.capture is None or self.warm
        lr, sr = (self.addresses[name] for name in names)
        uses = (lr, sr, self.scratch[0])
        run = self._kernel(lr, sr, self.scratch, self.shape, in_graph=queue.capture is not None)
        work = Work("kernel", run, uses, owner=id(self))
        self.gpu.submit(queue, work)
        return True

    def _kernel(self, lr, sr, scratch, shape, *, in_graph):
        """What runs on the GPU: everything bound now, whatever is bound later."""
        gpu, plan = self.gpu, self.plan
        kernels = None if self.cache is None else self.cache()
        if kernels is not None:
            kernels.kernels.add("x".join(map(str, shape)))
        lazy = (
            getattr(self.settings, "dynamic_shapes_kernel_specialization_strategy", None)
            is DynamicShapesKernelSpecializationStrategy.LAZY
        )
        self.ran[shape] += 1
        fallback = lazy and self.ran[shape] == 1
        here, binding = weakref.ref(self), self.binding

        def run():
            if in_graph and (here() is None or here().binding != binding):
                gpu.faults.append("a graph outlived what it was captured from")
            if gpu.kernel_status is not None:
                gpu.broken = gpu.kernel_status
                return
            gpu._at(scratch[0], plan.scratch(shape))[:] = 0xAA
            result = plan.result_of(shape)
            found = nearest(gpu._floats(lr, shape), plan.scale)
            gpu._floats(sr, result)[:] = found[:, :, : result[2], : result[3]] + np.float32(1e-6 * fallback)

        return run

    def _names(self, mode):
        return [name for name, found in self.plan.tensors if found is mode]

    def _idle(self, what):
        if any(work.owner == id(self) for work in self.gpu._pending()):
            self.faults.append(f"a context {what} while its work is queued")

    def _current(self, what):
        if self.gpu.device != self.engine.device:
            self.faults.append(f"a context {what} while another GPU is current")
