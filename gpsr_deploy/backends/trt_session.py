"""A plan in TensorRT or TensorRT-RTX: loaded, asked what it takes, and put into a stream. Knows addresses, no arrays."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpsr_deploy.backends import flavours
from gpsr_deploy.backends.cuda import Cuda, DeviceMemory, Graph, Room, Stream
from gpsr_deploy.errors import GpsrError, ModelRefused, OutOfMemory
from gpsr_deploy.model_files import cache as cache_file
from gpsr_deploy.spec import Profile

Shape = tuple[int, int, int, int]

SCARCE = 64 << 20
"""Bytes free on the GPU below which a failure of the library is taken for a lack of memory, which it does not tell by type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What an engine says of itself."""

    input: str
    output: str
    profile: Profile
    scale: int


class Session:
    """One engine, and the lanes in which it runs. All lanes share one scratch memory, so they take one stream."""

    def __init__(self, plan: bytes, *, trt: Any, cuda: Cuda, cache: Path | None) -> None:
        """Deserialises `plan`, which is trusted like a program. `cache`: the file of kernels compiled for this GPU.

        Raises ModelRefused, or OutOfMemory.
        """
        self._trt, self._cuda, self._cache_path = trt, cuda, cache
        self._log = flavours.messages(trt)
        self._cached = b""
        self._lanes: list[Lane] = []
        self._scratch = Room(cuda, DeviceMemory)
        self._runtime: Any = None
        self._engine: Any = None
        self._settings: Any = None
        self._cache: Any = None
        try:
            self._load(plan)
            self.first = self.lane(captures=False)
            """A lane that is there anyway, since an engine tells the size of a result only through one.

            Without graphs of ours it is good for memory of others too: they may free it, and get the same address again.
            """
            self.interface = self._ask()
        except BaseException:
            self._free()
            raise

    def lane(self, *, captures: bool = True) -> Lane:
        """A new lane. Raises ModelRefused or OutOfMemory.

        `captures`: a graph is made of what runs again, unless graphs are the library's business.
        """
        context = self._engine.create_execution_context(self._settings)
        if context is None:
            raise self.failed("the engine cannot be made ready to run")
        lane = Lane(self, context, captures=captures and not self.captures_itself)
        self._lanes.append(lane)
        return lane

    def scratch(self, size: int, stream: Stream) -> int:
        """Address of at least `size` bytes that a run in `stream` may use. Raises OutOfMemory."""
        if self._scratch.size < size:
            stream.synchronize()  # another lane's run may be using what is given up for more
        return self._scratch.of(size)

    def clear(self) -> None:
        """Gives scratch memory and graphs up; a run takes them anew. The stream of the lanes has to be done."""
        for lane in self._lanes:
            lane.forget()
        self._scratch.clear()

    @property
    def captures_itself(self) -> bool:
        """Whether graphs are the library's business: TensorRT-RTX is told to capture them."""
        return hasattr(self._trt, "CudaGraphStrategy")

    def refused(self, found: str) -> ModelRefused:
        """What to raise where the library said no, with its last word."""
        return ModelRefused(f"{found}: {self._log.last}", expected="an engine that was built for this machine")

    def failed(self, found: str, *, needs: int = SCARCE) -> ModelRefused | OutOfMemory:
        """As `refused`, for what takes memory: OutOfMemory where fewer than `needs` bytes are free on the GPU."""
        with suppress(GpsrError):  # a GPU that answers nothing any more is not short of memory
            if self._cuda.free_memory() < needs:
                return OutOfMemory(f"{found}, with little memory left on the GPU", remedy="a smaller --tile")
        return self.refused(found)

    def close(self) -> None:
        """Frees everything, and keeps what was compiled. The streams it was queued in have to be done."""
        try:
            self._keep_cache()
        finally:
            self._free()

    def _free(self) -> None:
        for lane in self._lanes:
            lane.close()
        # In this order: contexts use all the others, and whoever made a thing has to outlive it.
        self._settings = self._cache = self._engine = self._runtime = None
        self._scratch.close()

    def _load(self, plan: bytes) -> None:
        try:
            self._runtime = self._trt.Runtime(self._log)
        except TypeError as error:  # from the Python bindings, which were given no object
            raise self.failed("the library does not start") from error
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self.failed("the engine cannot be loaded", needs=max(SCARCE, len(plan)))
        self._settings = self._make_settings()

    def _make_settings(self) -> Any:
        """For contexts whose scratch memory is ours, so that a smaller tile takes less of it."""
        trt = self._trt
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self.captures_itself:
            return strategy
        settings = self._engine.create_runtime_config()
        if settings is None:
            raise self.refused("the engine cannot be configured")
        settings.set_execution_context_allocation_strategy(strategy)
        settings.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # The default, LAZY, changes kernels between two runs of one size, and with them the last bits of the result.
        settings.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        self._cache = settings.create_runtime_cache()  # without a file too: so the lanes share what is compiled
        if self._cache is None:
            raise self.refused("there is no cache of compiled kernels")
        if self._cache_path is not None:
            self._cached = cache_file.read(self._cache_path)
            if self._cached:  # and where it is of another driver or release, which the library finds, it is made anew
                self._cache.deserialize(self._cached)
        if not settings.set_runtime_cache(self._cache):
            raise self.refused("the cache of compiled kernels is not taken")
        return settings

    def _ask(self) -> Interface:
        """Names, sizes and scale. Raises ModelRefused for an engine that is not one float32 picture in, one out."""
        trt, engine = self._trt, self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        floats = all(engine.get_tensor_dtype(name) == trt.DataType.FLOAT for name in names)
        rows = all(engine.get_tensor_format(name) == trt.TensorFormat.LINEAR for name in names)
        if len(inputs) != 1 or len(outputs) != 1 or not floats or not rows:
            raise ModelRefused(
                f"the engine's tensors are {', '.join(names)}", expected="one float32 input and output, row by row"
            )
        low, best, high = (tuple(shape) for shape in engine.get_tensor_profile_shape(inputs[0], 0))
        if not len(low) == len(best) == len(high) == 4 or high[1] != 3:
            raise ModelRefused(f"the engine takes {high}", expected="(N, 3, H, W)")
        profile = Profile(min=low[2:], opt=best[2:], max=high[2:], batch=high[0])
        size = self.first.result_shape(inputs[0], best, outputs[0])
        scale = size[2] // best[2] if len(size) == 4 else 0
        if size != (best[0], 3, best[2] * scale, best[3] * scale):
            raise ModelRefused(f"the engine gives {size} for {best}", expected="RGB, a whole number of times as large")
        return Interface(input=inputs[0], output=outputs[0], profile=profile, scale=scale)

    def _keep_cache(self) -> None:
        if self._cache is None or self._cache_path is None:
            return
        kept = self._cache.serialize()
        content = b"" if kept is None else bytes(kept)
        if content and content != self._cached:
            cache_file.write(self._cache_path, content)


class Lane:
    """One execution context and the graph captured from it, which holds as long as sizes and addresses stay."""

    def __init__(self, session: Session, context: Any, *, captures: bool) -> None:
        self._session, self._context, self._captures = session, context, captures
        self._bound: tuple[Shape, int, int, int] | None = None
        self._size = 0
        self._ran = False
        self._graph: Graph | None = None

    def result_shape(self, name: str, shape: Shape, output: str) -> tuple[int, ...]:
        """What `output` becomes where `name` has this shape. Raises ModelRefused."""
        self.forget()
        try:
            taken = self._context.set_input_shape(name, shape) and not self._context.infer_shapes()
        except RuntimeError as error:  # how the Python bindings tell of a shape that the network cannot compute
            raise self._session.refused(f"the engine does not take {shape}") from error
        if not taken:
            raise self._session.refused(f"the engine does not take {shape}")
        return tuple(self._context.get_tensor_shape(output))

    def enqueue(self, stream: Stream, shape: Shape, lr: int, sr: int) -> None:
        """Queues one run from the device address `lr` to `sr`. Raises ModelRefused or OutOfMemory.

        From the second run with the same sizes and addresses on it is the launch of a graph. The one before must be done.
        """
        if self._bound is None or self._bound != (shape, lr, sr, self._session.scratch(self._size, stream)):
            self._bind(stream, shape, lr, sr)
        if self._graph is None and self._ran and self._captures:
            with stream.capture() as captured:
                self._execute(stream)
            self._graph = captured[0]
        if self._graph is not None:
            self._graph.launch(stream)
        else:  # the first run after a change sets things up in a way that no capture allows
            self._execute(stream)
            self._ran = True

    def forget(self) -> None:
        """Frees the graph; the next run binds anew. The one before must be done."""
        graph, self._graph, self._ran, self._bound = self._graph, None, False, None
        if graph is not None:
            graph.close()

    def close(self) -> None:
        """Frees graph and context."""
        self.forget()
        self._context = None

    def _bind(self, stream: Stream, shape: Shape, lr: int, sr: int) -> None:
        names = self._session.interface
        size = self.result_shape(names.input, shape, names.output)
        if size != (shape[0], 3, shape[2] * names.scale, shape[3] * names.scale):  # it would write beyond the result
            raise ModelRefused(f"the engine gives {size} for {shape}", expected=f"{names.scale} times as large")
        for name, address in ((names.input, lr), (names.output, sr)):
            if not self._context.set_tensor_address(name, address):
                raise self._session.refused(f"the engine does not take memory for {name}")
        self._size = max(int(self._context.update_device_memory_size_for_shapes()), 1)
        scratch = self._session.scratch(self._size, stream)
        self._context.set_device_memory(scratch, self._size)
        self._bound = (shape, lr, sr, scratch)

    def _execute(self, stream: Stream) -> None:
        if not self._context.execute_async_v3(int(stream.handle)):
            raise self._session.failed("the engine failed to run")
