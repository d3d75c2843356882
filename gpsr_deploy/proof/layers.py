"""Where inside a network two runtimes part: its convolutions compared one by one, through Polygraphy."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpsr_deploy.errors import BackendUnavailable, ModelRefused
from gpsr_deploy.model_files.onnx import OnnxModel, convolutions
from gpsr_deploy.proof.parity import Pixels
from gpsr_deploy.spec import INPUT, EngineRuntime

HALF_PEAK = 65504.0
"""The largest finite float16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One convolution's results in two runtimes."""

    name: str
    """Of the module that holds its weights: `decoders.1.upsample.expand`."""
    psnr_db: float
    """Against the largest value of the reference; infinite where all are equal, minus infinity where one is not finite."""
    peak: float
    """Largest magnitude in the reference, or infinity."""

    @property
    def branch(self) -> str:
        """The part of the network that export/to_onnx.py can keep in fp32 for it: `tail`, `decoders.1`."""
        parts = self.name.split(".")
        return ".".join(parts[:2]) if len(parts) > 1 and parts[1].isdigit() else parts[0]


def compare(judged: OnnxModel, reference: OnnxModel, lr: Pixels, *, engine: EngineRuntime | None = None) -> list[Layer]:
    """Every convolution that both models have, in the order of the graph, on `lr` (H, W, 3).

    Both run in ONNX Runtime on the CPU; with `engine` the judged one is built into an engine with all these results as
    outputs, and runs on the GPU. Raises BackendUnavailable without Polygraphy.
    """
    batch = np.ascontiguousarray(lr.transpose(2, 0, 1)[None], dtype=np.float32)
    outputs, wanted_outputs = (convolutions(model.content) for model in (judged, reference))
    names = [name for name in outputs if name in wanted_outputs]
    if not names:
        raise ModelRefused("the two models have no layer in common", expected="two exports of one network")
    found = _run(judged, [outputs[name] for name in names], batch, engine)
    wanted = _run(reference, [wanted_outputs[name] for name in names], batch, None)
    return [_layer(name, found[outputs[name]], wanted[wanted_outputs[name]]) for name in names]


def first_beyond(layers: list[Layer], *, min_psnr_db: float) -> Layer | None:
    """The first layer that leaves tolerance; None where none does."""
    return next((layer for layer in layers if not layer.psnr_db >= min_psnr_db), None)


def loudest(model: OnnxModel, lr: Pixels) -> Layer:
    """The layer with the largest values: the first that overflows where a type is too narrow. Errors as `compare`."""
    return max(compare(model, model, lr), key=lambda layer: layer.peak)


def _layer(name: str, found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> Layer:
    result, reference = found.astype(np.float64), wanted.astype(np.float64)
    peak = float(np.abs(reference).max())
    if not (np.isfinite(result).all() and math.isfinite(peak)):
        return Layer(name=name, psnr_db=-math.inf, peak=peak if math.isfinite(peak) else math.inf)
    error = float(((result - reference) ** 2).mean())
    psnr = math.inf if error == 0 else -10 * math.log10(error / max(peak, 1e-12) ** 2)
    return Layer(name=name, psnr_db=psnr, peak=peak)


def _run(model: OnnxModel, outputs: list[str], batch: Pixels, engine: EngineRuntime | None) -> dict[str, Any]:
    """The tensors `outputs` of one run."""
    try:
        from polygraphy import config
        from polygraphy.backend.onnx import BytesFromOnnx, ModifyOutputs, OnnxFromBytes
        from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
        from polygraphy.exception import PolygraphyException
        from polygraphy.logger import G_LOGGER
    except ImportError as error:
        raise BackendUnavailable(
            f"Polygraphy is not installed ({error})",
            expected="it to look at layers",
            remedy="pip install gpsr-deploy[layers]",
        ) from error
    marked = BytesFromOnnx(ModifyOutputs(OnnxFromBytes(model.content), outputs=outputs))
    try:
        with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
            if engine is None:
                runner = OnnxrtRunner(SessionFromOnnx(marked, providers=["CPUExecutionProvider"]))
            else:
                runner = _engine_runner(marked, batch.shape, engine, config)
            with runner:
                return {name: np.asarray(value) for name, value in runner.infer({INPUT: batch}).items()}
    except (PolygraphyException, RuntimeError) as error:
        raise ModelRefused(f"the model does not run layer by layer ({error})") from error


def _engine_runner(marked: Any, shape: tuple[int, ...], engine: EngineRuntime, config: Any) -> Any:
    """Polygraphy decides once per process, when it first imports TensorRT, which flavour it takes: one flavour, then."""
    rtx = engine == "tensorrt-rtx"
    if "polygraphy.backend.trt" in sys.modules and rtx != config.USE_TENSORRT_RTX:
        raise BackendUnavailable("Polygraphy runs the other TensorRT already", expected="one flavour per process")
    config.USE_TENSORRT_RTX = rtx
    from polygraphy.backend.trt import (
        CreateConfig,
        EngineBytesFromNetwork,
        EngineFromBytes,
        NetworkFromOnnxBytes,
        Profile,
        TrtRunner,
    )

    settings = CreateConfig(profiles=[Profile().add(INPUT, min=shape, opt=shape, max=shape)], tf32=False)
    network = NetworkFromOnnxBytes(marked, strongly_typed=True)
    return TrtRunner(EngineFromBytes(EngineBytesFromNetwork(network, config=settings)))
