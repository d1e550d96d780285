"""The two parts of a decoder's tick alone: all but attention, on packed tokens; and the attention operator in place."""

from __future__ import annotations

import time
from collections.abc import Callable
from mmap import PAGESIZE
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from headrace.contract import read_model
from headrace.export.caches import neutral, opset
from headrace.export.rotary import plainly_turned
from headrace.server.caches.cells import Cells
from headrace.server.caches.kinds import layout
from headrace.spec import LENGTHS, PAST, ModelSpec

Counts = NDArray[np.int64]

MICROSOFT, IR = "com.microsoft", 10


def linear(file: Path, rows: int) -> Callable[[], float]:
    """A tick of so many rows of one token without its attention: called, it runs once, and tells the CPU seconds."""
    graph, spec = read_model(file)
    session = _session(without_attention(graph))
    ones = np.ones(rows, np.int64)
    feed = {spec.inputs[0].name: np.zeros(rows, np.int64), LENGTHS: ones, PAST: 16 * ones}
    outputs = [output.name for output in spec.outputs]
    return lambda: timed(lambda: session.run(outputs, feed))


def without_attention(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Each attention node gives the sum of its queries, keys and values, so that nothing before it is left out."""
    made = onnx.ModelProto()
    made.CopyFrom(plainly_turned(graph))
    for node in neutral(made):
        node.op_type, node.domain = "Sum", ""
        del node.attribute[:], node.input[3:]
    return made


class Operator:
    """GroupQueryAttention of each layer, one behind the other, in place on arenas [rows, heads, room, width]."""

    def __init__(self, file: Path, past: Counts) -> None:
        """past [rows]: cells that each row has in use."""
        graph, spec = read_model(file)
        self._layout, self._version = layout(spec, PAGESIZE), opset(graph)
        self.cells = Cells(self._layout, len(past))
        _fill(self.cells, past)
        self._session = _session(self._graph(spec, len(past)))
        self._binding = self._session.io_binding()
        self._bind(past)

    def __call__(self) -> float:
        """CPU seconds of one run."""
        return timed(lambda: self._session.run_with_iobinding(self._binding))

    def _graph(self, spec: ModelSpec, rows: int) -> onnx.ModelProto:
        """Takes `new` [rows, 1, heads * width], which is query, key and value of the first layer, and gives `y`."""
        tensor, real, kind = helper.make_tensor_value_info, TensorProto.FLOAT, self._layout.kinds[0]
        about: dict[str, Any] = {"num_heads": kind.heads, "kv_num_heads": kind.heads, "scale": kind.width**-0.5}
        nodes, names, x = list[onnx.NodeProto](), [tensor.name for tensor in self.cells.tensors], "new"
        for number, cache in enumerate(spec.caches):
            arenas, y = [cache.keys, cache.values], f"y{number}"
            inputs, outputs = [x, "new", "new", *arenas, "last", "total"], [y, *map(written, arenas)]
            nodes.append(helper.make_node("GroupQueryAttention", inputs, outputs, domain=MICROSOFT, **about))
            x = y
        packed, shape = [rows, 1, kind.heads * kind.width], [rows, kind.heads, kind.room, kind.width]
        ins = [tensor("new", real, packed), *(tensor(name, real, shape) for name in names)]
        ins += [tensor("last", TensorProto.INT32, [rows]), tensor("total", TensorProto.INT32, [])]
        outs = [tensor(x, real, packed), *(tensor(written(name), real, shape) for name in names)]
        opsets = [helper.make_opsetid("", self._version), helper.make_opsetid(MICROSOFT, 1)]
        made = helper.make_graph(nodes, "attention", ins, outs)
        return helper.make_model(made, opset_imports=opsets, ir_version=IR)

    def _bind(self, past: Counts) -> None:
        kind, binding = self._layout.kinds[0], self._binding
        new = np.random.default_rng(1).standard_normal((len(past), 1, kind.heads * kind.width), np.float32)
        for name, values in (("new", new), ("last", past.astype(np.int32)), ("total", np.int32(past.max() + 1))):
            binding.bind_cpu_input(name, np.asarray(values))
        for tensor in self.cells.tensors:
            place = ("cpu", 0, np.float32, tensor.cells.shape, tensor.cells.ctypes.data)
            binding.bind_input(tensor.name, *place)
            binding.bind_output(written(tensor.name), *place)
        binding.bind_output(self._session.get_outputs()[0].name, "cpu")


def written(arena: str) -> str:
    """The same memory, as an output."""
    return f"{arena}:written"


def _fill(cells: Cells, past: Counts) -> None:
    """Cells that were never written would all be one page of zeros, and cost nothing to read."""
    rng = np.random.default_rng(0)
    for tensor in cells.tensors:
        for row, count in enumerate(past.tolist()):
            taken = tensor.cells[row, :, :count]
            taken[:] = rng.standard_normal(taken.shape, np.float32)


def _session(graph: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def timed(work: Callable[[], object]) -> float:
    """CPU seconds of this thread."""
    began = time.thread_time()
    work()
    return time.thread_time() - began
