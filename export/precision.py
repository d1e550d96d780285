"""Smaller and faster files: the same graph in half precision, or with weights and products of 8-bit integers.

What ONNX Runtime's own tools convert they convert. Its recurrent kernels take float32 alone (LSTM apart, which has one
of 8-bit weights); the weights of the others are stored small and made float32 again as the graph is loaded.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes.common import TopologicalSortPass
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

Precision = Literal["fp32", "fp16", "int8"]

LIMITS: dict[Precision, float] = {"fp32": 1e-4, "fp16": 0.05, "int8": 0.5}
"""Largest relative error of a graph that may be published: coarse where numbers are, but no wrong graph is so near."""

RECURRENT = ("LSTM", "GRU", "RNN")
"""Operators whose kernels take no half precision."""

UNHALVED = (*RECURRENT, "Transpose")
"""Operators left in float32. ONNX Runtime dies as it loads a Transpose that a Cast to float32 follows, where it can
make a Reshape of it (github.com/microsoft/onnxruntime/issues/28392)."""

INTEGER = ("MatMul", "Gemm", "Attention", "LSTM", "Gather")
"""Operators that are computed, or looked up, in 8-bit integers."""

SMALLEST = 256
"""Weights with fewer cells are left as they are: the nodes around them would take more than they save."""


def reduced(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """A copy of `model` in `precision`, with the same inputs, outputs and states."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    match precision:
        case "fp32":
            return copy
        case "fp16":
            return _half(copy)
        case "int8":
            return _stored(_integer(copy))


def _half(model: onnx.ModelProto) -> onnx.ModelProto:
    """All in half precision but UNHALVED, whose weights come out of it by a Cast."""
    half: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, op_block_list=list(UNHALVED))
    _once(half.graph)
    cast = {node.input[0] for node in half.graph.node if node.op_type == "Cast"}
    for tensor in half.graph.initializer:
        if tensor.name in cast and tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    del half.graph.value_info[:]  # of some of these they say float32
    return _sorted(half)


def _once(graph: onnx.GraphProto) -> None:
    """The tool makes the same cast for each of the operators that take a tensor."""
    nodes = {tuple(node.output): node for node in graph.node}
    del graph.node[:]
    graph.node.extend(nodes.values())


def _sorted(model: onnx.ModelProto) -> onnx.ModelProto:
    """The tool appends its casts at the end; ONNX wants every node behind those that it takes from."""
    graph = ir.from_proto(model)
    TopologicalSortPass()(graph)
    return ir.to_proto(graph)


def _integer(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights are converted now, activations as they come (`DynamicQuantizeLinear`)."""
    del model.graph.value_info[:]  # the tool turns weights around and would contradict what stands there
    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "model.onnx"
        quantize_dynamic(model, file, op_types_to_quantize=list(INTEGER))
        return onnx.load(file)


@contextmanager
def _quiet() -> Iterator[None]:
    """The tool recommends a preparation of its own, which the exporter's optimiser has already done."""
    logging.getLogger().addFilter(_is_not_advice)
    try:
        yield
    finally:
        logging.getLogger().removeFilter(_is_not_advice)


def _is_not_advice(record: logging.LogRecord) -> bool:
    return "consider to run pre-processing" not in record.getMessage()


def _stored(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keeps the weights that are still float32 in recurrent operators small, each with a node that makes it float32."""
    weights = {name for node in model.graph.node if node.op_type in RECURRENT for name in node.input[1:3]}
    nodes: list[onnx.NodeProto] = []
    for tensor in [t for t in model.graph.initializer if t.name in weights]:
        cells = numpy_helper.to_array(tensor)
        if cells.size >= SMALLEST:
            model.graph.initializer.remove(tensor)
            parts, node = _integers(tensor.name, cells)
            model.graph.initializer.extend(parts)
            nodes.append(node)
    _prepend(model.graph, nodes)
    return model


def _integers(name: str, cells: NDArray[np.float32]) -> tuple[list[TensorProto], onnx.NodeProto]:
    """Symmetric, with a scale for each output channel: cells [directions, channels, inputs], one direction."""
    scale = np.abs(cells).max(axis=(0, 2)) / 127  # [channels]
    scale[scale == 0] = 1
    parts = {"int8": np.rint(cells / scale[:, None]).astype(np.int8), "scale": scale.astype(np.float32)}
    tensors = [numpy_helper.from_array(part, f"{name}:{suffix}") for suffix, part in parts.items()]
    return tensors, helper.make_node("DequantizeLinear", [t.name for t in tensors], [name], axis=1)


def _prepend(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    behind = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *behind])
