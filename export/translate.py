"""What the ragged operations become in ONNX: padding appears right around the operators that need it, nowhere else.

`maps` leads from packed tokens to a padded view and back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from . import (
    maps,
    ops,  # noqa: F401  registers the operators
)
from .maps import Value, op
from .translate_recurrent import stack

OPSET = 20
"""The recurrent operators have CUDA kernels up to opset 21 only; above it they would silently run on the CPU."""

OPSETS = range(20, 25)
"""What the exporter and ONNX Runtime agree upon; what is made here is of the first and is converted upwards."""

LAST_RECURRENT = 21
"""Beyond it, recurrent operators run on the CPU even where there is a GPU."""


def recurrent(
    x: Value, lengths: Value, h: Value, weights: Sequence[Value], mode: str, directions: int
) -> tuple[Value, Value]:
    """`headrace::recurrent`: pad once, one ONNX GRU or RNN for each layer, unpad once."""
    y, (end,) = stack(x, lengths, (h,), weights, (), mode, directions)
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
    y, (end, cell) = stack(x, lengths, (h, c), weights, inverses, "LSTM", directions)
    return y, end, cell


def attention(q: Value, k: Value, v: Value, lengths: Value, heads: int) -> Value:
    """`headrace::attention`: softmax(q kᵀ / √size) v on the padded view; a row's padding gets no weight."""
    return _attended(q, k, v, lengths, _mask(lengths, q), heads)


def biased_attention(q: Value, k: Value, v: Value, lengths: Value, bias: Value, heads: int) -> Value:
    """`headrace::biased_attention`."""
    return _attended(q, k, v, lengths, op.Add(bias, _mask(lengths, q)), heads)


def _attended(q: Value, k: Value, v: Value, lengths: Value, mask: Value, heads: int) -> Value:
    """mask [1 or rows, 1 or heads, 1 or time, time] is added to the scores."""
    size = q.shape[-1] // heads
    pad = op.Transpose(maps.pad(lengths), perm=[1, 0])  # [rows, time]
    scaled = op.Mul(q, op.CastLike(1.0 / math.sqrt(size), q))  # on packed tokens, where it is cheapest
    queries, values = (_heads(t, pad, heads, perm=[0, 2, 1, 3]) for t in (scaled, v))  # [rows, heads, time, size]
    keys = _heads(k, pad, heads, perm=[0, 2, 3, 1])  # [rows, heads, size, time]
    scores = op.Add(op.MatMul(queries, keys), mask)  # [rows, heads, time, time]
    y = op.Transpose(op.MatMul(op.Softmax(scores, axis=-1), values), perm=[0, 2, 1, 3])  # [rows, time, heads, size]
    return op.Gather(op.Reshape(y, [-1, heads * size]), maps.cells(lengths, time_major=False))


def mean(x: Value, lengths: Value) -> Value:
    """`headrace::mean`: a sum over the padded view, where the padding counts as zero."""
    rows = op.Gather(x, op.Transpose(maps.pad(lengths), perm=[1, 0]))  # [rows, time, width]
    kept = op.Where(op.Unsqueeze(maps.valid(lengths), [2]), rows, op.CastLike(0.0, x))
    sums = op.ReduceSum(kept, [1], keepdims=0)  # [rows, width]
    return op.Div(sums, op.CastLike(op.Unsqueeze(lengths, [1]), x))


def positions(lengths: Value, tokens: Value) -> Value:
    """`headrace::positions`."""
    return maps.places(lengths)[1]


TABLE: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.headrace.recurrent.default: recurrent,
    torch.ops.headrace.lstm.default: lstm,
    torch.ops.headrace.attention.default: attention,
    torch.ops.headrace.biased_attention.default: biased_attention,
    torch.ops.headrace.mean.default: mean,
    torch.ops.headrace.positions.default: positions,
}
"""For torch.onnx.export's `custom_translation_table`."""


def _heads(x: Value, pad: Value, heads: int, perm: Sequence[int]) -> Value:
    """x [tokens, width], pad [rows, time] → the padded view, heads apart: (rows, time, heads, size) by `perm`."""
    return op.Transpose(op.Reshape(op.Gather(x, pad), [0, 0, heads, -1]), perm=perm)


def _mask(lengths: Value, like: Value) -> Value:
    """[rows, 1, 1, time], 0 where the row has a token and -inf where it is padding."""
    mask = op.Where(maps.valid(lengths), op.CastLike(0.0, like), op.CastLike(-math.inf, like))
    return op.Unsqueeze(mask, [1, 2])
