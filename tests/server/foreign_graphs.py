"""Tiny graphs as strangers make them, each with the `model.toml` that tells how to serve it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
from numpy.typing import NDArray

from headrace.foreign import Foreign
from headrace.server.foreign import canonical
from headrace.spec import LENGTHS, ModelSpec

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Stranger:
    graph: str
    given: dict[str, Any]
    opset: int = 17

    @property
    def model(self) -> onnx.ModelProto:
        return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {self.opset}]>\n{self.graph}')

    @property
    def foreign(self) -> Foreign:
        return Foreign.of(self.given)


#: y[t] = h + x[0] + … + x[t]; h' = y at the end. The state's batch axis is the second one; rows are equally long.
SUM = Stranger(
    """
    sum (float[B, T, 2] x, float[1, B, 2] h) => (float[B, T, 2] y, float[q, r, s] h_new)
    <int64 one = {1}, int64[1] last = {-1}, int64[1] far = {9223372036854775807}, int64[1] axis = {1}> {
        along = CumSum(x, one)
        before = Transpose<perm = [1, 0, 2]>(h)
        y = Add(along, before)
        end = Slice(y, last, far, axis)
        h_new = Transpose<perm = [1, 0, 2]>(end)
    }
    """,
    {
        "chunk": {"longest": 8},
        "inputs": [{"name": "x", "axes": ["batch", "time", 2]}],
        "outputs": [{"name": "y", "axes": ["batch", "time", 2]}],
        "states": [{"name": "h", "input": "h", "output": "h_new", "axes": [1, "batch", 2], "initial": [1.0, 2.0]}],
    },
)

#: y = x · valid + count of time steps, time first, with lengths of its own: what stands behind a row's end would show.
TIME_FIRST = Stranger(
    """
    timefirst (float[T, B] x, int32[B] sizes) => (float[T, B] y, float[B] total)
    <int64[1] axis = {0}> {
        many = Cast<to = 1>(sizes)
        sum = ReduceSum<keepdims = 0>(x, axis)
        total = Add(sum, many)
        y = Add(x, total)
    }
    """,
    {
        "chunk": {"longest": 8},
        "inputs": [{"name": "x", "axes": ["time", "batch"]}],
        "outputs": [{"name": "y", "axes": ["time", "batch"]}, {"name": "total", "axes": ["batch"]}],
        "lengths": {"tensor": "sizes"},
    },
)

#: y = the sum over two steps of context and exactly four of the chunk, times a constant. Its declared shapes lie.
CONTEXT = Stranger(
    """
    context (float[B, T] x, int64 rate) => (float[7, 7, 7] y)
    <int64[1] axis = {1}> {
        sum = ReduceSum(x, axis)
        factor = Cast<to = 1>(rate)
        y = Mul(sum, factor)
    }
    """,
    {
        "chunk": {"exactly": 4, "padded_end": True},
        "inputs": [{"name": "x", "axes": ["batch", "time"], "context": 2}],
        "outputs": [{"name": "y", "axes": ["batch", 1]}],
        "constants": [{"tensor": "rate", "value": 10}],
    },
)

#: Time is the only axis: y[t] = x[t] + the chunk's sum + h, h' = h + the chunk's sum.
ALONE = Stranger(
    """
    alone (float[T] x, float[3] h) => (float[T] y, float[3] h_new)
    <int64[1] axis = {0}> {
        sum = ReduceSum(x, axis)
        h_new = Add(h, sum)
        first = Gather(h_new, axis)
        y = Add(x, first)
    }
    """,
    {
        "chunk": {"longest": 8},
        "inputs": [{"name": "x", "axes": ["time"]}],
        "outputs": [{"name": "y", "axes": ["time"]}],
        "states": [{"name": "h", "input": "h", "output": "h_new", "axes": [3]}],
    },
)

#: One time step a call and no time axis, of a batch that the graph fixes at 1; token ids of 32 bits in an old opset.
CELL = Stranger(
    """
    cell (int32[1] lengths, float[1, 2] h) => (float[1, 2] out, float[1, 2] h_new)
    {
        value = Cast<to = 1>(lengths)
        column = Unsqueeze<axes = [1]>(value)
        h_new = Add(h, column)
        out = Identity(h_new)
    }
    """,
    {
        "chunk": {"exactly": 1},
        "inputs": [{"name": "id", "tensor": "lengths", "axes": ["batch"], "vocabulary": 9}],
        "outputs": [{"name": "value", "tensor": "out", "axes": ["batch", 2]}],
        "states": [{"name": "h", "input": "h", "output": "h_new", "axes": ["batch", 2]}],
    },
    opset=11,
)


class Runner:
    """A rewritten graph in a session, fed as the engine feeds it. Mutable: each row's states."""

    def __init__(self, stranger: Stranger, rows: int) -> None:
        model, self.spec = canonical(stranger.model, stranger.foreign, "stranger")
        onnx.checker.check_model(model)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.states = {s.input: np.stack([s.cells()] * rows) for s in self.spec.states}

    def step(self, rows: Sequence[Sequence[float]] | Sequence[Array]) -> dict[str, Array]:
        """rows: [time, ...] each, of the only input. Outputs as the graph gives them, [tokens, ...] or [rows, ...]."""
        (given,) = self.spec.inputs
        packed = np.concatenate([np.asarray(row, given.dtype) for row in rows])
        feed = {given.name: packed, LENGTHS: np.array([len(row) for row in rows], np.int64), **self.states}
        names = [o.name for o in self.spec.graph_outputs]
        results = dict(zip(names, self._session.run(names, feed), strict=True))
        self.states = {s.input: results.pop(s.output) for s in self.spec.states}
        return results


def spec_of(stranger: Stranger) -> ModelSpec:
    return canonical(stranger.model, stranger.foreign, "stranger")[1]
