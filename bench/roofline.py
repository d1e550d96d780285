"""The least time that a call can take on a device, by its arithmetic and by the bytes that it moves.

Williams, Waterman and Patterson 2009, "Roofline: an insightful visual performance model".
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import onnx


@dataclass(frozen=True, slots=True)
class Roof:
    """rate: floating-point operations a second; bandwidth: bytes a second."""

    rate: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class Work:
    """Of one call: floating-point operations, and bytes that must be read or written."""

    flops: float
    bytes: float

    def limit(self, roof: Roof) -> float:
        """Seconds."""
        return max(self.flops / roof.rate, self.bytes / roof.bandwidth)

    def bound(self, roof: Roof) -> str:
        """What holds it back."""
        return "matrix rate" if self.flops / roof.rate >= self.bytes / roof.bandwidth else "memory bandwidth"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one model. weights: cells of its matrices, each used once a token and read once a call.

    attention: operations a token beside them; kept: bytes of state or caches that a row reads and writes.
    """

    weights: int
    attention: int
    kept: int

    def of(self, rows: int, tokens: int) -> Work:
        """Of a call with that many rows, float32. What goes in and comes out is small beside it."""
        return Work((2 * self.weights + self.attention) * tokens, 4 * self.weights + self.kept * rows)


def matrices(model: onnx.ModelProto) -> int:
    """Cells of all weights with two axes or more, tables that are only looked up left out."""
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}

    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    return sum(
        prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type in kinds and len(tensor.dims) > 1 and tensor.name not in looked_up
    )
