"""The nodes between our packed rows and a foreign graph's own axes. All that pads or transposes stands here.

Opset 13 or later; every operator by its entry in the ONNX operator specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from headrace.foreign import BATCH, TIME, Axes, Value
from headrace.spec import LENGTHS

OURS = "headrace:adapt"
"""Prefix of what is added. No name of a spec holds a colon."""


@dataclass
class Nodes:
    """Collects nodes and constants; each method adds some and gives the name of the result. Mutable throughout."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        result = result or f"{OURS}:{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [result], **attributes))
        return result

    def constant(self, value: Value, dtype: str = "int64", shape: Sequence[int] | None = None, name: str = "") -> str:
        """One number stands for all cells of `shape`."""
        cells = np.array(value, dtype)
        cells = cells if shape is None else np.broadcast_to(cells if cells.ndim == 0 else cells.reshape(shape), shape)
        name = name or f"{OURS}:constant:{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(cells).reshape(cells.shape), name))
        return name

    def reshape(self, x: str, *shape: int) -> str:
        return self.add("Reshape", x, self.constant(shape))

    def arrange(self, x: str, axes: Axes) -> str:
        """[rows, time if `axes` have it, ...] → `axes`; without a batch axis in them, there is one row."""
        if BATCH not in axes:
            x = self.add("Squeeze", x, self.constant((0,)))
        return self._transpose(x, np.argsort(_order(axes)).tolist())

    def restore(self, x: str, axes: Axes) -> str:
        """`axes` → [rows, time if `axes` have it, ...]."""
        x = self._transpose(x, _order(axes))
        return x if BATCH in axes else self.add("Unsqueeze", x, self.constant((0,)))

    def _transpose(self, x: str, order: list[int]) -> str:
        return x if order == sorted(order) else self.add("Transpose", x, perm=order)


def _order(axes: Axes) -> list[int]:
    """Where batch, time and the others, in their order, stand in `axes`."""
    named = [axes.index(name) for name in (BATCH, TIME) if name in axes]
    return named + [place for place in range(len(axes)) if place not in named]


@dataclass(frozen=True, slots=True)
class Equal:
    """Rows of equal length need no padding: [rows · time, ...] and [rows, time, ...] are the same cells.

    time: the length, where it is known; else it follows from the number of rows.
    """

    nodes: Nodes
    time: int | None

    def unpack(self, x: str, shape: tuple[int, ...], dtype: str) -> str:
        """[tokens, *shape] → [rows, time, *shape]."""
        if self.time is not None:
            return self.nodes.reshape(x, -1, self.time, *shape)
        rows = self.nodes.add("Shape", LENGTHS)
        target = self.nodes.add("Concat", rows, self.nodes.constant((-1, *shape)), axis=0)
        return self.nodes.add("Reshape", x, target)

    def pack(self, x: str, shape: tuple[int, ...]) -> str:
        """[rows, time, *shape] → [tokens, *shape]."""
        return self.nodes.reshape(x, -1, *shape)


@dataclass(frozen=True, slots=True)
class Padded:
    """Rows of different lengths, padded with zeros to `time` steps, or to the longest of them.

    index: [rows, time], which token stands there; behind a row's end the number of tokens, where a row of zeros stands
    valid: [rows · time], whether a token stands there
    """

    nodes: Nodes
    index: str
    valid: str

    @classmethod
    def of(cls, nodes: Nodes, time: int | None) -> Padded:
        longest = nodes.constant(time) if time is not None else nodes.add("ReduceMax", LENGTHS, keepdims=0)  # []
        steps = nodes.add("Range", nodes.constant(0), longest, nodes.constant(1))  # [time]
        lengths = nodes.reshape(LENGTHS, -1, 1)  # [rows, 1]
        valid = nodes.add("Less", steps, lengths)  # [rows, time]
        ends = nodes.add("CumSum", LENGTHS, nodes.constant(0))  # [rows]
        starts = nodes.reshape(nodes.add("Sub", ends, LENGTHS), -1, 1)  # [rows, 1]
        tokens = nodes.add("ReduceSum", LENGTHS, keepdims=0)  # []
        index = nodes.add("Where", valid, nodes.add("Add", starts, steps), tokens)  # [rows, time]
        return cls(nodes, index, nodes.reshape(valid, -1))

    def unpack(self, x: str, shape: tuple[int, ...], dtype: str) -> str:
        """[tokens, *shape] → [rows, time, *shape], zeros behind each row's end."""
        zeros = self.nodes.constant(0, dtype, (1, *shape))
        return self.nodes.add("Gather", self.nodes.add("Concat", x, zeros, axis=0), self.index, axis=0)

    def pack(self, x: str, shape: tuple[int, ...]) -> str:
        """[rows, time, *shape] → [tokens, *shape], without what stands behind each row's end."""
        return self.nodes.add("Compress", self.nodes.reshape(x, -1, *shape), self.valid, axis=0)


Layout = Equal | Padded
