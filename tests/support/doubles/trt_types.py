"""The small types of TensorRT's modules: sizes, choices by name, and what loggers are made from."""

import enum


class Dims:
    """Iterable, as TensorRT's own; no tuple."""

    def __init__(self, sizes):
        self._sizes = tuple(sizes)

    def __iter__(self):
        return iter(self._sizes)

    def __len__(self):
        return len(self._sizes)

    def __getitem__(self, index):
        return self._sizes[index]


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class DataType(enum.Enum):
    FLOAT, HALF, UINT8 = range(3)


class TensorFormat(enum.Enum):
    LINEAR, CHW32, HWC = range(3)


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class CudaGraphStrategy(enum.Enum):
    DISABLED, WHOLE_GRAPH_CAPTURE = range(2)


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY, EAGER, NONE = range(3)


class ILogger:
    """Base of loggers; severities as in the real one."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)
