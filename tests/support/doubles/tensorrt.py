"""The double of both TensorRTs: modules that load one plan, up to its context."""

import weakref
from dataclasses import dataclass

import numpy as np

from doubles.context import ExecutionContext
from doubles.trt_types import (
    CudaGraphStrategy,
    DataType,
    Dims,
    DynamicShapesKernelSpecializationStrategy,
    ExecutionContextAllocationStrategy,
    ILogger,
    TensorFormat,
    TensorIOMode,
)


@dataclass
class Plan:
    """What is in the one plan that a double of TensorRT can load."""

    content: bytes = b"ftrt a plan"
    tensors: tuple = (("lr", TensorIOMode.INPUT), ("sr", TensorIOMode.OUTPUT))
    dtypes: tuple = (DataType.FLOAT, DataType.FLOAT)
    formats: tuple = (TensorFormat.LINEAR, TensorFormat.LINEAR)
    sizes: tuple = ((1, 3, 6, 6), (1, 3, 12, 15), (2, 3, 60, 60))
    """Least, best and greatest of the input."""
    scale: int = 4
    result: object = None
    """The result's shape for an input's, where it is not `scale` times as large."""
    scratch: object = lambda shape: 16 * int(np.prod(shape))
    """Bytes that a run needs beside input and output, by the input's shape."""

    def result_of(self, shape):
        if self.result is not None:
            return self.result(shape)
        return (shape[0], 3, shape[2] * self.scale, shape[3] * self.scale)


class TensorRt:
    """The module of one flavour. What a test sets: `refuses`, the names of calls that fail in their own way."""

    def __init__(self, gpu, *, rtx, plan=None, version=None, refuses=()):
        self.gpu, self.rtx = gpu, rtx
        self.plan = Plan() if plan is None else plan
        self.refuses = set(refuses)
        self.ILogger = ILogger
        self.TensorIOMode, self.DataType, self.TensorFormat = TensorIOMode, DataType, TensorFormat
        self.ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
        self.__version__ = version or ("1.7.1.116" if rtx else "11.4.0.7")
        self.written = None
        """Cache of kernels as last serialised."""
        if rtx:
            self.CudaGraphStrategy = CudaGraphStrategy
            self.DynamicShapesKernelSpecializationStrategy = DynamicShapesKernelSpecializationStrategy

    def Runtime(self, log):
        if "Runtime" in self.refuses:
            raise TypeError("factory function returned nullptr")
        return Runtime(self, log)

    def says(self, log, message):
        log.log(ILogger.WARNING, "by the way")
        log.log(ILogger.ERROR, message)


class Runtime:
    def __init__(self, trt, log):
        self.trt, self.log = trt, log
        trt.gpu.objects.add(self)

    def deserialize_cuda_engine(self, plan):
        gpu = self.trt.gpu
        gpu.calls.append(("deserialize_cuda_engine", len(plan)))
        gpu._require_device("an engine")
        if "deserialize_cuda_engine" in self.trt.refuses or plan != self.trt.plan.content:
            self.trt.says(self.log, "this is no plan of mine")
            return None
        return Engine(self.trt, self.log)


class Engine:
    def __init__(self, trt, log):
        self.trt, self.log, self.plan, self.device = trt, log, trt.plan, trt.gpu.device
        trt.gpu.objects.add(self)

    @property
    def num_io_tensors(self):
        return len(self.plan.tensors)

    def _index(self, name):
        return [tensor for tensor, _ in self.plan.tensors].index(name)

    def get_tensor_name(self, index):
        return self.plan.tensors[index][0]

    def get_tensor_mode(self, name):
        return self.plan.tensors[self._index(name)][1]

    def get_tensor_dtype(self, name):
        return self.plan.dtypes[self._index(name)]

    def get_tensor_format(self, name):
        return self.plan.formats[self._index(name)]

    def get_tensor_profile_shape(self, name, profile_index):
        assert profile_index == 0
        return [Dims(size) for size in self.plan.sizes]

    def create_runtime_config(self):
        return None if "create_runtime_config" in self.trt.refuses else RuntimeConfig(self.trt)

    def create_execution_context(self, settings):
        if "create_execution_context" in self.trt.refuses:
            self.trt.says(self.log, "no context")
            return None
        return ExecutionContext(self, settings)


class RuntimeConfig:
    def __init__(self, trt):
        self.trt = trt
        self.strategy = ExecutionContextAllocationStrategy.STATIC
        self.cuda_graph_strategy = CudaGraphStrategy.DISABLED
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
        self.cache = None

    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy

    def create_runtime_cache(self):
        return None if "create_runtime_cache" in self.trt.refuses else RuntimeCache(self.trt)

    def set_runtime_cache(self, cache):
        if "set_runtime_cache" in self.trt.refuses:
            return False
        self.cache = weakref.ref(cache)
        return True


class RuntimeCache:
    """Of kernels, named by the shapes that they are for."""

    MAGIC = b"kernels:"

    def __init__(self, trt):
        self.trt, self.kernels = trt, set()
        trt.gpu.objects.add(self)

    def deserialize(self, blob):
        if not bytes(blob).startswith(self.MAGIC):
            return False
        self.kernels |= set(filter(None, bytes(blob)[len(self.MAGIC) :].decode().split(";")))
        return True

    def serialize(self):
        if "serialize" in self.trt.refuses:
            return None
        if "serialize raises" in self.trt.refuses:
            raise MemoryError
        self.trt.written = self.MAGIC + ";".join(sorted(self.kernels)).encode()
        return memoryview(self.trt.written)  # as IHostMemory: something with a buffer
