"""The index maps between packed tokens and a padded view, in ONNX, made from `lengths` alone.

A row's padding repeats its own last token, so that nothing of one row, not even a NaN, reaches another. No map costs
tokens x rows. All who use them in a graph make the same ones; common-subexpression elimination leaves one of each.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript import opset20

Value = Any
"""A value of the graph that is being built; onnxscript's own types are those of eager tensors."""

op: Any = opset20


def valid(lengths: Value) -> Value:
    """[rows, time] whether the padded view's cell holds a token."""
    return op.Less(op.Unsqueeze(times(lengths), [0]), op.Unsqueeze(lengths, [1]))


def pad(lengths: Value) -> Value:
    """[time, rows] → token: past a row's end, its own last one."""
    at = op.Min(op.Unsqueeze(times(lengths), [1]), op.Sub(lengths, [1]))  # [time, rows] place in the row
    return op.Add(at, starts(lengths))


def cells(lengths: Value, time_major: bool) -> Value:
    """[tokens] → cell of the flattened padded view, [time, rows] or [rows, time]."""
    row, place = places(lengths)
    if time_major:
        return op.Add(op.Mul(place, op.Shape(lengths)), row)
    return op.Add(op.Mul(row, op.ReduceMax(lengths)), place)


def places(lengths: Value) -> tuple[Value, Value]:
    """Of each token its row, and its place in it: both [tokens]. Marks where rows begin and counts the marks."""
    # Tokens are counted from the lengths, not from some packed tensor, so that all users' maps are one and the same.
    first, count = starts(lengths), op.ReduceSum(lengths)  # [rows], [1]
    none, one = (
        op.ConstantOfShape(count, value=ir.tensor([0])),
        op.ConstantOfShape(op.Shape(lengths), value=ir.tensor([1])),
    )
    marks = op.ScatterElements(none, first, one)
    row = op.Sub(op.CumSum(marks, 0), [1])
    index = op.Range(0, op.Squeeze(count), 1)
    return row, op.Sub(index, op.Gather(first, row))


def starts(lengths: Value) -> Value:
    """[rows] index of each row's first token."""
    return op.CumSum(lengths, 0, exclusive=1)


def times(lengths: Value) -> Value:
    """[time] 0, 1, … up to the longest row."""
    return op.Range(0, op.ReduceMax(lengths, keepdims=0), 1)
