"""What the operators of `padded_ops` become in ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from . import (
    maps,
    padded_ops,  # noqa: F401  registers the operators
)
from .maps import Value, op
from .translate_recurrent import padded


def pad(x: Value, lengths: Value, times: Value) -> Value:
    """`headrace::pad`."""
    return op.Gather(x, op.Transpose(maps.pad(lengths), perm=[1, 0]))


def unpad(x: Value, lengths: Value, tokens: Value) -> Value:
    """`headrace::unpad`: rows and time as one axis of cells, of which each token has one."""
    cells = op.Reshape(x, op.Concat(op.Constant(value_ints=[-1]), op.Shape(x, start=2), axis=0))
    return op.Gather(cells, maps.cells(lengths, time_major=False))


def last(x: Value, lengths: Value, rows: int, time: int) -> Value:
    """`headrace::last`."""
    others = [axis for axis in range(len(x.shape)) if axis not in (rows, time)]
    at = op.Unsqueeze(op.Sub(lengths, [1]), [1])  # [rows, 1]
    there = op.GatherND(op.Transpose(x, perm=[rows, time, *others]), at, batch_dims=1)  # [rows, ...]
    place = rows - (time < rows)
    return op.Transpose(there, perm=[*range(1, place + 1), 0, *range(place + 1, len(others) + 1)])


def by_row(x: Value, lengths: Value) -> Value:
    """`headrace::by_row`."""
    return op.Gather(x, maps.starts(lengths))


def by_token(x: Value, lengths: Value, tokens: Value) -> Value:
    """`headrace::by_token`."""
    return op.Gather(x, maps.places(lengths)[0])


def padded_recurrent(
    x: Value, lengths: Value, h: Value, weights: Sequence[Value], mode: str, directions: int
) -> tuple[Value, Value]:
    """`headrace::padded_recurrent`."""
    y, (end,) = _time_major(x, lengths, (h,), weights, (), mode, directions)
    return y, end


def padded_lstm(
    x: Value,
    lengths: Value,
    h: Value,
    c: Value,
    weights: Sequence[Value],
    inverses: Sequence[Value],
    directions: int,
) -> tuple[Value, Value, Value]:
    """`headrace::padded_lstm`."""
    y, (end, cell) = _time_major(x, lengths, (h, c), weights, inverses, "LSTM", directions)
    return y, end, cell


TABLE: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.headrace.pad.default: pad,
    torch.ops.headrace.unpad.default: unpad,
    torch.ops.headrace.last.default: last,
    torch.ops.headrace.by_row.default: by_row,
    torch.ops.headrace.by_token.default: by_token,
    torch.ops.headrace.padded_recurrent.default: padded_recurrent,
    torch.ops.headrace.padded_lstm.default: padded_lstm,
}
"""For torch.onnx.export's `custom_translation_table`."""


def _time_major(
    x: Value,
    lengths: Value,
    start: Sequence[Value],
    weights: Sequence[Value],
    inverses: Sequence[Value],
    mode: str,
    directions: int,
) -> tuple[Value, tuple[Value, ...]]:
    """As ONNX's recurrent operators take it, [time, rows, ...], and back."""
    y, ends = padded(op.Transpose(x, perm=[1, 0, 2]), lengths, start, weights, inverses, mode, directions)
    return op.Transpose(y, perm=[1, 0, 2]), ends
