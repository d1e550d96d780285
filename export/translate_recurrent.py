"""Recurrent layers in ONNX: one operator for each, on a padded view with the lengths beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from . import maps
from .maps import Value, op

GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""ONNX's gate order by torch's numbers: i f g o → i o f c, and r z n → z r h."""


def stack(
    x: Value,
    lengths: Value,
    start: Sequence[Value],
    weights: Sequence[Value],
    inverses: Sequence[Value],
    mode: str,
    directions: int,
) -> tuple[Value, tuple[Value, ...]]:
    """Packed x [tokens, features]: padded once for all layers. States [rows, layers * directions, width]."""
    y, ends = padded(op.Gather(x, maps.pad(lengths)), lengths, start, weights, inverses, mode, directions)
    cells = op.Reshape(y, [-1, directions * start[0].shape[2]])
    return op.Gather(cells, maps.cells(lengths, time_major=True)), ends


def padded(
    y: Value,
    lengths: Value,
    start: Sequence[Value],
    weights: Sequence[Value],
    inverses: Sequence[Value],
    mode: str,
    directions: int,
) -> tuple[Value, tuple[Value, ...]]:
    """Layers one above the other: y [time, rows, features] → [time, rows, directions * width]."""
    short, ends = op.Cast(lengths, to=ir.DataType.INT32), []
    for first in range(0, start[0].shape[1], directions):
        part = range(first, first + directions)
        begin = [_of(s, part) for s in start]  # each [directions, rows, width]
        w = _Weights.of(weights, inverses, part, start[0].shape[1], mode)
        y, *end = _projected(y, short, begin, w, mode) if w.inverse else _layer(y, short, begin, w, mode)
        y = _beside(y, directions)
        ends.append([op.Transpose(e, perm=[1, 0, 2]) for e in end])  # each [rows, directions, width]
    return y, tuple(op.Concat(*parts, axis=1) for parts in zip(*ends, strict=True))


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
    """One ONNX operator: x [time, rows, …] → y [time, directions, rows, hidden], states [directions, rows, hidden]."""
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


def _of(state: Value, part: range) -> Value:
    """[rows, layers * directions, width] → those of one layer, [directions, rows, width]."""
    return op.Transpose(op.Gather(state, [*part], axis=1), perm=[1, 0, 2])


def _beside(y: Value, directions: int) -> Value:
    """[time, directions, rows, width] → [time, rows, directions * width]."""
    if directions == 1:
        return op.Squeeze(y, [1])
    return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), [0, 0, -1])
