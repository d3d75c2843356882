"""Quantised graphs of a model: calibrated once by NNCF, then any of its convolutions in int8 and the others as they were."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Sequence

import numpy as np
import onnx
import onnx.numpy_helper

from gpsr_deploy.backends import Batch
from gpsr_deploy.backends.openvino import OpenVinoBackend
from gpsr_deploy.backends.silence import silenced
from gpsr_deploy.errors import BackendUnavailable
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.model_files.onnx import OnnxModel
from gpsr_deploy.proof import parity
from gpsr_deploy.proof.quality import Pair
from gpsr_deploy.spec import INPUT, Quality

try:
    with silenced():
        import nncf
        import onnxruntime  # noqa: F401 - which nncf imports later, and which then would report
except ImportError as error:
    raise BackendUnavailable(
        "NNCF or ONNX Runtime is not installed",
        expected="both to quantise models",
        remedy="pip install gpsr-deploy[quantize]",
    ) from error

logging.getLogger("nncf").setLevel(logging.ERROR)

PROBES = 4
"""Pictures on which each convolution is judged alone."""


class Calibrated:
    """A model, and what its convolutions are in int8."""

    def __init__(self, model: OnnxModel, pairs: Sequence[Pair]) -> None:
        """Calibrates on the LR of `pairs`: ranges of activations per tensor, of weights per channel, both symmetric."""
        self._model = model
        self._original = onnx.load_model_from_string(model.content)
        batches = [batch_of(pair, model.spec.multiple_of) for pair in pairs]
        source = onnx.ModelProto.FromString(self._original.SerializeToString())
        del source.metadata_props[:]
        self._every = nncf.quantize(
            source,
            nncf.Dataset(batches, lambda batch: {INPUT: batch}),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(batches),
        )
        self._tensors = {tensor.name: tensor for tensor in self._every.graph.initializer}
        self._makers = {output: node for node in self._every.graph.node for output in node.output}
        self._nodes = {node.name: node for node in self._every.graph.node}
        self._probes = batches[:: max(1, len(batches) // PROBES)][:PROBES]
        self.work = onnx_file.macs_by_convolution(self._original)
        """Multiply-adds of each convolution, by the name of the module that holds its weights."""
        self.names = {
            node.input[1].removesuffix(".weight"): node.name
            for node in self._original.graph.node
            if node.op_type == "Conv" and node.input[1].endswith(".weight")
        }
        """Node of each convolution that has weights of its own, by the same names."""

    def model(self, names: Collection[str], quality: Quality | None = None) -> OnnxModel:
        """The model with the convolutions `names` in int8."""
        graph = onnx.ModelProto.FromString(self._original.SerializeToString())
        chosen = {self.names[name] for name in names}
        nodes = []
        for node in graph.graph.node:
            if node.name in chosen:
                nodes += self._in_int8(node, graph)
            nodes.append(node)
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.graph.node[:]
        graph.graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in graph.graph.initializer if tensor.name in used]
        kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del graph.graph.initializer[:]
        graph.graph.initializer.extend(kept)
        spec = dataclasses.replace(self._model.spec, dtype="int8")
        return onnx_file.check(onnx_file.stamped(graph, spec, quality, costs=self._model.costs))

    def _in_int8(self, convolution: onnx.NodeProto, graph: onnx.ModelProto) -> list[onnx.NodeProto]:
        """What stands before a convolution in int8, which is made to read that; its tensors are added to `graph`.

        Each has pairs of its own: shared ones would round what flows past it, and that is the picture itself.
        """
        there, added = self._nodes[convolution.name], []
        for index, what in ((0, "lr"), (1, "weight")):
            above = self._makers[there.input[index]]
            # Between it and the convolution there may be what only moves values, like pixel shuffles.
            while above.op_type != "DequantizeLinear":
                above = self._makers[above.input[0]]
            dequantise = onnx.NodeProto.FromString(above.SerializeToString())
            dequantise.name = dequantise.output[0] = f"{convolution.name}.{what}.dequantised"
            pair = [dequantise]
            if what == "lr":  # weights are in the file as int8
                quantise = onnx.NodeProto.FromString(self._makers[above.input[0]].SerializeToString())
                quantise.name = quantise.output[0] = f"{convolution.name}.{what}.quantised"
                quantise.input[0], dequantise.input[0] = convolution.input[0], quantise.output[0]
                pair = [quantise, dequantise]
            scale, zero_point = self._scale(above)
            scale.name, zero_point.name = f"{convolution.name}.{what}.scale", f"{convolution.name}.{what}.zero_point"
            graph.graph.initializer.extend([scale, zero_point])
            for node in pair:
                node.input[1], node.input[2] = scale.name, zero_point.name
            if what == "weight":
                weight = onnx.TensorProto.FromString(self._tensors[dequantise.input[0]].SerializeToString())
                weight.name = dequantise.input[0] = f"{convolution.name}.{what}.int8"
                graph.graph.initializer.append(weight)
            convolution.input[index] = dequantise.output[0]
            added += pair
        return added

    def _scale(self, node: onnx.NodeProto) -> tuple[onnx.TensorProto, onnx.TensorProto]:
        """Scale and zero point of a pair, both signed: TensorRT has no unsigned ones."""
        scale, zero_point = (
            onnx.TensorProto.FromString(self._tensors[name].SerializeToString()) for name in node.input[1:3]
        )
        if zero_point.data_type == onnx.TensorProto.UINT8:  # [0, 255 s], for what is never negative
            values = onnx.numpy_helper.to_array(scale) * np.float32(255 / 127)
            scale = onnx.numpy_helper.from_array(values.astype(np.float32), scale.name)
            zeros = np.zeros(tuple(zero_point.dims), np.int8)
            zero_point = onnx.numpy_helper.from_array(zeros, zero_point.name)
        return scale, zero_point

    def ranked(self) -> dict[str, float]:
        """Every convolution, the cheapest first: squared error of the result when it alone is in int8, per multiply-add."""
        with OpenVinoBackend(self._model) as exact:
            wanted = [exact.infer(batch) for batch in self._probes]
        cost = {}
        for name in self.names:
            with OpenVinoBackend(self.model([name]), rest="fp32") as backend:
                found = (backend.infer(batch) for batch in self._probes)
                error = np.mean([np.mean((one - other) ** 2) for one, other in zip(found, wanted, strict=True)])
            cost[name] = float(error) / self.work[name]
        return dict(sorted(cost.items(), key=lambda item: item[1]))


def batch_of(pair: Pair, multiple_of: int) -> Batch:
    """The LR of a pair, (1, 3, H, W) in [0, 1], its edges repeated up to what the network takes."""
    return parity.padded(pair.lr.astype(np.float32) / np.float32(255), multiple_of)[None]
