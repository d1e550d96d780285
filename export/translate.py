"""What the ragged operations become in ONNX: padding appears right around the operators that need it, nowhere else.

Two index maps, made from `lengths` alone, lead from packed tokens to a padded view and back. A row's padding repeats
its own last token, so that nothing of one row, not even a NaN, reaches another. No map costs tokens x rows. All ragged
operations of a graph make the same maps; common-subexpression elimination leaves one of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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


def recurrent(x: Value, lengths: Value, h: Value, weights: Sequence[Value], mode: str) -> tuple[Value, Value]:
    """`headrace::recurrent`: pad once, one ONNX GRU or RNN for each layer, unpad once."""
    y, (end,) = _stack(x, lengths, (h,), weights, mode)
    return y, end


def lstm(x: Value, lengths: Value, h: Value, c: Value, weights: Sequence[Value]) -> tuple[Value, Value, Value]:
    """`headrace::lstm`: pad once, one ONNX LSTM for each layer, unpad once."""
    y, (end, cell) = _stack(x, lengths, (h, c), weights, "LSTM")
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
    x: Value, lengths: Value, start: Sequence[Value], weights: Sequence[Value], mode: str
) -> tuple[Value, tuple[Value, ...]]:
    """Layers one above the other, in between which the padded view is kept. States [rows, layers, hidden]."""
    layers, hidden = start[0].shape[1], start[0].shape[2]
    each = len(weights) // layers
    y, short, ends = op.Gather(x, _pad(lengths)), op.Cast(lengths, to=ir.DataType.INT32), []  # y [time, rows, features]
    for k in range(layers):
        begin = [op.Unsqueeze(op.Gather(s, k, axis=1), [0]) for s in start]  # each [1, rows, hidden]
        y, *end = _layer(y, short, begin, weights[k * each : (k + 1) * each], mode, hidden)
        y = op.Squeeze(y, [1])  # [time, 1, rows, hidden] → [time, rows, hidden]
        ends.append([op.Reshape(e, [-1, 1, hidden]) for e in end])  # each [rows, 1, hidden]
    packed = op.Gather(op.Reshape(y, [-1, hidden]), _cells(lengths, time_major=True))  # [tokens, hidden]
    return packed, tuple(op.Concat(*parts, axis=1) for parts in zip(*ends, strict=True))


def _layer(
    x: Value, lengths: Value, begin: Sequence[Value], weights: Sequence[Value], mode: str, hidden: int
) -> tuple[Value, ...]:
    """One ONNX operator: x [time, rows, features] → y [time, 1, rows, hidden] and the states [1, rows, hidden]."""
    # A Gather by a list is folded into the weights when the graph is optimised; a Split would stay in the graph.
    order = [gate * hidden + k for gate in GATES.get(mode, (0,)) for k in range(hidden)]
    w, r, *b = (op.Unsqueeze(op.Gather(weight, order), [0]) for weight in weights)
    args = (x, w, r, op.Concat(*b, axis=1) if b else None, lengths, *begin)
    if mode == "LSTM":
        return tuple(op.LSTM(*args, hidden_size=hidden))
    if mode == "GRU":  # torch applies the reset gate after the recurrent product
        return tuple(op.GRU(*args, hidden_size=hidden, linear_before_reset=1))
    return tuple(op.RNN(*args, hidden_size=hidden, activations=[mode.removeprefix("RNN_").title()]))


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
