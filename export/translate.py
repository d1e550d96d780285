"""What the ragged operations become in ONNX: padding appears right around the operators that need it, nowhere else.

Two index maps, made from `lengths` alone, lead from packed tokens to a padded view and back. A row's padding repeats
its own last token, so that nothing of one row, not even a NaN, reaches another. No map costs tokens x rows. All ragged
operations of a graph make the same maps; common-subexpression elimination leaves one of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset20

from . import ops  # noqa: F401  registers the operators

OPSET = 20
"""The recurrent operators have CUDA kernels up to opset 21 only; above it they would silently run on the CPU."""

Value = Any
"""A value of the graph that is being built; onnxscript's own types are those of eager tensors."""

op: Any = opset20

GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""ONNX's gate order by torch's numbers: i f g o → i o f c, and r z n → z r h."""


def recurrent(
    x: Value, lengths: Value, h: Value, weights: Sequence[Value], mode: str, directions: int
) -> tuple[Value, Value]:
    """`headrace::recurrent`: pad once, one ONNX GRU or RNN for each layer, unpad once."""
    y, (end,) = _stack(x, lengths, (h,), weights, (), mode, directions)
    return y, end


def lstm(
    x: Value,
    lengths: Value,
    h: Value,
    c: Value,
    weights: Sequence[Value],
    inverses: Sequence[Value],
    directions: int,
) -> tuple[Value, Value, Value]:
    """`headrace::lstm`: pad once, one ONNX LSTM for each layer, unpad once."""
    y, (end, cell) = _stack(x, lengths, (h, c), weights, inverses, "LSTM", directions)
    return y, end, cell


def attention(q: Value, k: Value, v: Value, lengths: Value, heads: int) -> Value:
    """`headrace::attention`: softmax(q kᵀ / √size) v on the padded view; a row's padding gets no weight."""
    size = q.shape[-1] // heads
    pad = op.Transpose(_pad(lengths), perm=[1, 0])  # [rows, time]
    scaled = op.Mul(q, op.CastLike(1.0 / math.sqrt(size), q))  # on packed tokens, where it is cheapest
    queries, values = (_heads(t, pad, heads, perm=[0, 2, 1, 3]) for t in (scaled, v))  # [rows, heads, time, size]
    keys = _heads(k, pad, heads, perm=[0, 2, 3, 1])  # [rows, heads, size, time]
    scores = op.Add(op.MatMul(queries, keys), _mask(lengths, q))  # [rows, heads, time, time]
    y = op.Transpose(op.MatMul(op.Softmax(scores, axis=-1), values), perm=[0, 2, 1, 3])  # [rows, time, heads, size]
    return op.Gather(op.Reshape(y, [-1, heads * size]), _cells(lengths, time_major=False))


def mean(x: Value, lengths: Value) -> Value:
    """`headrace::mean`: a sum over the padded view, where the padding counts as zero."""
    rows = op.Gather(x, op.Transpose(_pad(lengths), perm=[1, 0]))  # [rows, time, width]
    kept = op.Where(op.Unsqueeze(_valid(lengths), [2]), rows, op.CastLike(0.0, x))
    sums = op.ReduceSum(kept, [1], keepdims=0)  # [rows, width]
    return op.Div(sums, op.CastLike(op.Unsqueeze(lengths, [1]), x))


def positions(lengths: Value, tokens: Value) -> Value:
    """`headrace::positions`."""
    return _places(lengths)[1]


TABLE: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.headrace.recurrent.default: recurrent,
    torch.ops.headrace.lstm.default: lstm,
    torch.ops.headrace.attention.default: attention,
    torch.ops.headrace.mean.default: mean,
    torch.ops.headrace.positions.default: positions,
}
"""For torch.onnx.export's `custom_translation_table`."""


def _stack(
    x: Value,
    lengths: Value,
    start: Sequence[Value],
    weights: Sequence[Value],
    inverses: Sequence[Value],
    mode: str,
    directions: int,
) -> tuple[Value, tuple[Value, ...]]:
    """Layers one above the other, in between which the padded view is kept. States [rows, layers * directions, width]."""
    width, ends = start[0].shape[2], []
    y, short = op.Gather(x, _pad(lengths)), op.Cast(lengths, to=ir.DataType.INT32)  # y [time, rows, features]
    for first in range(0, start[0].shape[1], directions):
        part = range(first, first + directions)
        begin = [
            op.Transpose(op.Gather(s, [*part], axis=1), perm=[1, 0, 2]) for s in start
        ]  # [directions, rows, width]
        w = _Weights.of(weights, inverses, part, start[0].shape[1], mode)
        y, *end = _projected(y, short, begin, w, mode) if w.inverse else _layer(y, short, begin, w, mode)
        y = _beside(y, directions)
        ends.append([op.Transpose(e, perm=[1, 0, 2]) for e in end])  # each [rows, directions, width]
    packed = op.Gather(op.Reshape(y, [-1, directions * width]), _cells(lengths, time_major=True))
    return packed, tuple(op.Concat(*parts, axis=1) for parts in zip(*ends, strict=True))


@dataclass(frozen=True, slots=True)
class _Weights:
    """Of one layer, the directions stacked: w [directions, gates * hidden, features], r likewise, b [directions, …]."""

    hidden: int
    directions: int
    w: Value
    r: Value
    b: Value | None
    project: Value | None = None
    """[directions, width, hidden]"""
    inverse: Value | None = None
    """[directions, hidden, width]"""

    @classmethod
    def of(cls, weights: Sequence[Value], inverses: Sequence[Value], part: range, layers: int, mode: str) -> _Weights:
        """Of those layers and directions in `part`, in ONNX's gate order."""
        each = len(weights) // layers
        w, r, *rest = ([weights[k * each + j] for k in part] for j in range(each))
        hidden = r[0].shape[0] // len(GATES.get(mode, (0,)))
        # A Gather by a list is folded into the weights when the graph is optimised; a Split would stay in the graph.
        order = [gate * hidden + k for gate in GATES.get(mode, (0,)) for k in range(hidden)]
        gates = [_stacked([op.Gather(one, order) for one in kind]) for kind in (w, r, *rest[: len(rest) // 2 * 2])]
        b = op.Concat(*gates[2:], axis=1) if len(gates) > 2 else None
        plain = cls(hidden, len(part), gates[0], gates[1], b)
        if not inverses:
            return plain
        return replace(plain, project=_stacked(rest[-1]), inverse=_stacked([inverses[k] for k in part]))


def _stacked(tensors: Sequence[Value]) -> Value:
    """One for each direction, [...] → [directions, ...]."""
    each = [op.Unsqueeze(tensor, [0]) for tensor in tensors]
    return each[0] if len(each) == 1 else op.Concat(*each, axis=0)


def _layer(x: Value, lengths: Value, begin: Sequence[Value], of: _Weights, mode: str) -> tuple[Value, ...]:
    """One ONNX operator: x [time, rows, features] → y [time, directions, rows, hidden], states [directions, rows, hidden]."""
    args = (x, of.w, of.r, of.b, lengths, *begin)
    common = {"hidden_size": of.hidden, "direction": "bidirectional" if of.directions == 2 else "forward"}
    if mode == "LSTM":
        return tuple(op.LSTM(*args, **common))
    if mode == "GRU":  # torch applies the reset gate after the recurrent product
        return tuple(op.GRU(*args, linear_before_reset=1, **common))
    return tuple(op.RNN(*args, activations=[mode.removeprefix("RNN_").title()] * of.directions, **common))


def _projected(x: Value, lengths: Value, begin: Sequence[Value], of: _Weights, mode: str) -> tuple[Value, ...]:
    """An LSTM with a projection W, which ONNX has none for, run on the state m before it, h = W m.

    Its recurrent weight R becomes R W, it begins at m = W⁺ h, and W is applied to what it gives. W has fewer rows than
    columns, so that W W⁺ = 1 and nothing is lost.
    """
    h, c = begin
    before = op.MatMul(h, op.Transpose(of.inverse, perm=[0, 2, 1]))  # [directions, rows, hidden]
    unprojected = replace(of, r=op.MatMul(of.r, of.project))
    y, m, c = _layer(x, lengths, (before, c), unprojected, mode)
    across = op.Transpose(of.project, perm=[0, 2, 1])  # [directions, hidden, width]
    return op.MatMul(y, across), op.MatMul(m, across), c


def _beside(y: Value, directions: int) -> Value:
    """[time, directions, rows, width] → [time, rows, directions * width]."""
    if directions == 1:
        return op.Squeeze(y, [1])
    return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), [0, 0, -1])


def _heads(x: Value, pad: Value, heads: int, perm: Sequence[int]) -> Value:
    """x [tokens, width], pad [rows, time] → the padded view, heads apart: (rows, time, heads, size) by `perm`."""
    return op.Transpose(op.Reshape(op.Gather(x, pad), [0, 0, heads, -1]), perm=perm)


def _mask(lengths: Value, like: Value) -> Value:
    """[rows, 1, 1, time], 0 where the row has a token and -inf where it is padding."""
    mask = op.Where(_valid(lengths), op.CastLike(0.0, like), op.CastLike(-math.inf, like))
    return op.Unsqueeze(mask, [1, 2])


def _valid(lengths: Value) -> Value:
    """[rows, time] whether the padded view's cell holds a token."""
    return op.Less(op.Unsqueeze(_times(lengths), [0]), op.Unsqueeze(lengths, [1]))


def _pad(lengths: Value) -> Value:
    """[time, rows] → token: past a row's end, its own last one."""
    at = op.Min(op.Unsqueeze(_times(lengths), [1]), op.Sub(lengths, [1]))  # [time, rows] place in the row
    return op.Add(at, _starts(lengths))


def _cells(lengths: Value, time_major: bool) -> Value:
    """[tokens] → cell of the flattened padded view, [time, rows] or [rows, time]."""
    row, place = _places(lengths)
    if time_major:
        return op.Add(op.Mul(place, op.Shape(lengths)), row)
    return op.Add(op.Mul(row, op.ReduceMax(lengths)), place)


def _places(lengths: Value) -> tuple[Value, Value]:
    """Of each token its row, and its place in it: both [tokens]. Marks where rows begin and counts the marks."""
    # Tokens are counted from the lengths, not from some packed tensor, so that all users' maps are one and the same.
    starts, count = _starts(lengths), op.ReduceSum(lengths)  # [rows], [1]
    none, one = (
        op.ConstantOfShape(count, value=ir.tensor([0])),
        op.ConstantOfShape(op.Shape(lengths), value=ir.tensor([1])),
    )
    marks = op.ScatterElements(none, starts, one)
    row = op.Sub(op.CumSum(marks, 0), [1])
    index = op.Range(0, op.Squeeze(count), 1)
    return row, op.Sub(index, op.Gather(starts, row))


def _starts(lengths: Value) -> Value:
    """[rows] index of each row's first token."""
    return op.CumSum(lengths, 0, exclusive=1)


def _times(lengths: Value) -> Value:
    """[time] 0, 1, … up to the longest row."""
    return op.Range(0, op.ReduceMax(lengths, keepdims=0), 1)
