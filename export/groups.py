"""Rows in groups of like length, in ONNX, made from `lengths` alone: each group has a padded view of its own.

One padded view is as long as the longest row of all, and attention costs the square of it. Rows are therefore ranked by
their lengths and cut into GROUPS of equally many. With fewer rows than groups some are empty. As in `maps`, a row's
padding repeats its own last token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import maps
from .maps import Value, op

GROUPS = 3
"""Attention of 64 rows of 1 to 128 time steps costs 0.65 of that on one view with 2 groups, 0.54 with 3, 0.52 with 4;
each group is 15 nodes more, about 20 µs of a single row."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the rows. rows [n]: which; pad [n, time]: the token of each cell; valid [n, time]; longest [1]."""

    rows: Value
    pad: Value
    valid: Value
    longest: Value


def groups(lengths: Value) -> tuple[Group, ...]:
    """The longest rows first."""
    count = op.Shape(lengths)
    ranked, rows = op.TopK(lengths, count)
    return tuple(_group(lengths, ranked, rows, count, number) for number in range(GROUPS))


def cells(lengths: Value, every: Sequence[Group]) -> Value:
    """[tokens] → cell of all groups' flattened views, one behind the other."""
    sizes = op.Concat(*(op.Expand(group.longest, op.Shape(group.rows)) for group in every), axis=0)  # [rows] by rank
    order = op.Concat(*(group.rows for group in every), axis=0)
    _, rank = op.TopK(order, op.Shape(lengths), largest=0)  # [rows] the place of each row among them
    first = op.Gather(op.CumSum(sizes, 0, exclusive=1), rank)  # [rows] cell of a row's first token
    row, place = maps.places(lengths)
    return op.Add(op.Gather(first, row), place)


def _group(lengths: Value, ranked: Value, rows: Value, count: Value, number: int) -> Group:
    begin, end = (op.Div(op.Mul(count, [k]), [GROUPS]) for k in (number, number + 1))
    chosen, own = op.Slice(rows, begin, end), op.Slice(ranked, begin, end)  # both [n]
    longest = op.Gather(ranked, op.Min(begin, op.Sub(count, [1])))  # [1], also of a group without rows
    times = op.Unsqueeze(op.Range(0, op.Squeeze(longest), 1), [0])  # [1, time]
    column = op.Unsqueeze(own, [1])  # [n, 1]
    first = op.Unsqueeze(op.Gather(maps.starts(lengths), chosen), [1])  # [n, 1]
    pad = op.Add(op.Min(times, op.Sub(column, [1])), first)
    return Group(chosen, pad, op.Less(times, column), longest)
