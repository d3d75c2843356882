"""Doubles of a GPU: CUDA's runtime API and both TensorRTs, as strict as their documents where the real ones let much pass.

Memory is real, so copies copy. Queued work runs when something waits for it, or at once in the streams that `eager` names:
one stream can be far ahead of another unless an event holds it back. What no document allows lands in `Gpu.faults`.
"""

from doubles.checked import checked
from doubles.context import ExecutionContext, nearest
from doubles.cuda import INVALID_HANDLE, OUT_OF_MEMORY, Gpu, real
from doubles.tensorrt import Engine, Plan, Runtime, RuntimeCache, RuntimeConfig, TensorRt
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
from doubles.work import SCHEDULES, Work

__all__ = [
    "CudaGraphStrategy",
    "DataType",
    "Dims",
    "DynamicShapesKernelSpecializationStrategy",
    "Engine",
    "ExecutionContext",
    "ExecutionContextAllocationStrategy",
    "Gpu",
    "ILogger",
    "INVALID_HANDLE",
    "OUT_OF_MEMORY",
    "Plan",
    "Runtime",
    "RuntimeCache",
    "RuntimeConfig",
    "SCHEDULES",
    "TensorFormat",
    "TensorIOMode",
    "TensorRt",
    "Work",
    "checked",
    "nearest",
    "real",
]
