"""The doubles of CUDA and TensorRT are like the real ones, and as strict as they say."""

import doubles
import numpy as np
import pytest
from doubles import Gpu, real

from gpsr_deploy.backends import flavours
from gpsr_deploy.backends.cuda import Cuda, DeviceMemory, PinnedMemory
from gpsr_deploy.errors import ModelRefused

# --- CUDA ---


NOTHING = (real.cudaStream_t(), real.cudaEvent_t())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("cudaGetDeviceCount", ()),
        ("cudaSetDevice", (0,)),
        ("cudaGetDeviceProperties", (0,)),
        ("cudaMemGetInfo", ()),
        ("cudaMalloc", (100,)),
        ("cudaFree", (0,)),
        ("cudaHostAlloc", (100, 0)),
        ("cudaFreeHost", (0,)),
        ("cudaStreamCreateWithFlags", (1,)),
        ("cudaStreamDestroy", NOTHING[:1]),
        ("cudaStreamSynchronize", NOTHING[:1]),
        ("cudaStreamWaitEvent", (*NOTHING, 0)),
        ("cudaStreamBeginCapture", (NOTHING[0], real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)),
        ("cudaStreamEndCapture", NOTHING[:1]),
        ("cudaMemcpyAsync", (1, 2, 3, real.cudaMemcpyKind.cudaMemcpyHostToDevice, NOTHING[0])),
        ("cudaEventCreateWithFlags", (0,)),
        ("cudaEventDestroy", NOTHING[1:]),
        ("cudaEventRecord", NOTHING[::-1]),
        ("cudaEventSynchronize", NOTHING[1:]),
        ("cudaEventElapsedTime", NOTHING[1:] * 2),
        ("cudaGraphInstantiate", (real.cudaGraph_t(), 0)),
        ("cudaGraphDestroy", (real.cudaGraph_t(),)),
        ("cudaGraphLaunch", (real.cudaGraphExec_t(), NOTHING[0])),
        ("cudaGraphExecDestroy", (real.cudaGraphExec_t(),)),
    ],
)
def test_the_double_answers_in_the_form_of_the_real_one(name, arguments):
    """Which, without a driver, says so everywhere, and takes what it is given by type alone."""
    if real.cudaGetDeviceCount()[0] != real.cudaError_t.cudaErrorInsufficientDriver:
        pytest.skip("there is a driver, which would take the arguments at their word")
    gpu, status = Gpu(), real.cudaError_t.cudaErrorInsufficientDriver
    gpu.answers[name] = status
    if name in ("cudaGraphDestroy", "cudaGraphExecDestroy", "cudaStreamEndCapture"):
        stream = gpu.cudaSetDevice(0) and gpu.cudaStreamCreateWithFlags(1)[1]
        gpu.cudaStreamBeginCapture(stream, real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        gpu.answers.clear()
        captured = gpu.cudaStreamEndCapture(stream)
        if name == "cudaStreamEndCapture":
            assert len(captured) == len(real.cudaStreamEndCapture(*arguments))
            return
        handle = captured[1] if name == "cudaGraphDestroy" else gpu.cudaGraphInstantiate(captured[1], 0)[1]
        assert len(getattr(gpu, name)(handle)) == len(getattr(real, name)(*arguments)) == 1
        return
    assert getattr(gpu, name)(*arguments) == getattr(real, name)(*arguments)


def test_every_call_of_the_double_is_compared():
    marks = test_the_double_answers_in_the_form_of_the_real_one.pytestmark
    compared = {name for name, _ in marks[0].args[1]}
    assert {name for name, value in vars(Gpu).items() if name.startswith("cuda") and callable(value) and not isinstance(value, type)} == compared  # fmt: skip


def test_the_double_notices_what_is_forbidden():
    gpu = Gpu()
    cuda = Cuda(gpu)
    stream, memory, pinned = cuda.stream(), DeviceMemory(cuda, 40), PinnedMemory(cuda, 40)
    stream.copy(memory.address, pinned.address, 40, to_device=True)
    pinned.floats((10,))[:] = 1
    memory.close()
    stream.synchronize()
    assert "cudaFree of memory that queued work uses" in gpu.faults
    assert "pinned memory was changed before the copy of it began" in gpu.faults
    assert "a use of memory that is freed, or never was" in gpu.faults
    stream.close()
    with pytest.raises(ModelRefused):
        stream.synchronize()
    assert "a use of a stream that is destroyed" in gpu.faults
    gpu.cudaFree(memory.address)
    assert "cudaFree of what is not there" in gpu.faults
    assert gpu.leftovers() == {"memory": 1}
    np.ctypeslib.as_array((np.ctypeslib.ctypes.c_ubyte * 41).from_address(pinned.address))[40] = 1
    pinned.close()
    assert "a write beyond pinned memory" in gpu.faults


# --- TensorRT ---


def test_the_double_of_tensorrt_has_nothing_that_the_real_one_has_not():
    trt = flavours.module_of("tensorrt-rtx")
    for name in ("TensorIOMode", "DataType", "TensorFormat", "ExecutionContextAllocationStrategy", "CudaGraphStrategy",
                 "DynamicShapesKernelSpecializationStrategy"):  # fmt: skip
        assert {member.name for member in getattr(doubles, name)} <= set(dir(getattr(trt, name)))
    pairs = {
        doubles.Runtime: trt.Runtime,
        doubles.Engine: trt.ICudaEngine,
        doubles.RuntimeConfig: trt.IRuntimeConfig,
        doubles.RuntimeCache: trt.IRuntimeCache,
        doubles.ExecutionContext: trt.IExecutionContext,
        doubles.ILogger: trt.ILogger,
    }
    for double, real_one in pairs.items():
        public = {name for name in vars(double) if not name.startswith("_") and name != "MAGIC"}
        assert public <= set(dir(real_one)), double
    assert {"cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy"} <= set(dir(trt.IRuntimeConfig))
    assert [type(size) for size in trt.Dims([1, 3, 6, 6])] == [int] * 4
