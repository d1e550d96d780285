"""What the ragged operations become in ONNX: padding appears right around the operators that need it, nowhere else.

`maps` leads from packed tokens to a padded view and back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from . import (
    groups,
    maps,
    ops,  # noqa: F401  registers the operators
)
from .groups import Group
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
    """`headrace::attention`: softmax(q kᵀ / √size) v on padded views; a row's padding gets no weight."""
    return _attended(q, k, v, lengths, None, heads)


def biased_attention(q: Value, k: Value, v: Value, lengths: Value, bias: Value, heads: int) -> Value:
    """`headrace::biased_attention`."""
    return _attended(q, k, v, lengths, bias, heads)


def _attended(q: Value, k: Value, v: Value, lengths: Value, bias: Value | None, heads: int) -> Value:
    """bias [1 or rows, 1 or heads, 1 or time, time]."""
    scaled = op.Mul(q, op.CastLike(1.0 / math.sqrt(q.shape[-1] // heads), q))  # on packed tokens, where it is cheapest
    every = groups.groups(lengths)
    views = [_view(scaled, k, v, group, _mask(group, q, bias), heads) for group in every]  # each [cells, width]
    return op.Gather(op.Concat(*views, axis=0), groups.cells(lengths, every))


def _view(q: Value, k: Value, v: Value, group: Group, mask: Value, heads: int) -> Value:
    """q, k, v [tokens, width], mask [n, 1 or heads, 1 or time, time] → that of a group's cells, [n * time, width]."""
    apart = [heads, k.shape[-1] // heads]
    queries, values = (_heads(t, group.pad, apart, perm=[0, 2, 1, 3]) for t in (q, v))  # [n, heads, time, size]
    keys = _heads(k, group.pad, apart, perm=[0, 2, 3, 1])  # [n, heads, size, time]
    weights = op.Softmax(op.Add(op.MatMul(queries, keys), mask), axis=-1)  # [n, heads, time, time]
    return op.Reshape(op.Transpose(op.MatMul(weights, values), perm=[0, 2, 1, 3]), [-1, k.shape[-1]])


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


def _heads(x: Value, pad: Value, apart: Sequence[int], perm: Sequence[int]) -> Value:
    """x [tokens, width], pad [n, time] → the padded view, its width apart: (n, time, heads, size) by `perm`."""
    return op.Transpose(op.Reshape(op.Gather(x, pad), [0, 0, *apart]), perm=perm)


def _mask(group: Group, like: Value, bias: Value | None) -> Value:
    """0 where a row has a token, -inf where it is padding, [n, 1, 1, time]; with the group's part of a bias."""
    mask = op.Unsqueeze(op.Where(group.valid, op.CastLike(0.0, like), op.CastLike(-math.inf, like)), [1, 2])
    if bias is None:
        return mask
    own = bias if bias.shape[0] == 1 else op.Gather(bias, group.rows)
    timed = [axis for axis in (2, 3) if bias.shape[axis] != 1]
    starts, ends = [0] * len(timed), op.Concat(*[group.longest] * len(timed), axis=0)
    return op.Add(op.Slice(own, starts, ends, timed), mask)
