"""Which nodes treat each token by itself: row i of what they give hangs on row i of what they take, and on constants.

Tokens are the first axis of a tensor. Only operators that are listed here pass, under conditions on their axes (ONNX
operator specs); what is not known of a tensor, such as its rank, counts against its node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import onnx

from ..maps import CONSTANT, DEFAULT_DOMAINS, steady
from ..values import Values, attributes, used

TOKENS = "tokens"
"""The name of the token axis in every graph (spec.Signature)."""

EACH_CELL = (
    "Abs Add And Cast Ceil Celu Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish"
    " Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mul Neg Not Or PRelu Pow Reciprocal Relu"
    " Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor"
)
"""Cell by cell, with broadcasting where they take several."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a graph. constants: names of whatever hangs on no input; initial: shapes of initializers."""

    values: Values
    constants: frozenset[str]
    initial: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, graph: onnx.GraphProto, values: Values) -> Known:
        given = {each.name for each in graph.input}
        initial = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer if tensor.name not in given}
        constants = set(initial)
        for node in graph.node:
            named = node.op_type == CONSTANT or any(node.input)
            if named and steady(node) and constants.issuperset(used(node)):
                constants.update(node.output)
        return cls(values, frozenset(constants), initial)

    def tokenwise(self, node: onnx.NodeProto) -> bool:
        """Whether it treats each token by itself."""
        rule = RULES.get(node.op_type)
        return node.domain in DEFAULT_DOMAINS and rule is not None and rule(self, node)

    def tokens(self, name: str) -> bool:
        """Whether its first axis is that of tokens."""
        info = self.values.infos.get(name)
        if info is None or name in self.constants:
            return False
        return [axis.dim_param for axis in info.type.tensor_type.shape.dim][:1] == [TOKENS]

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """None for an axis of no fixed size, and where nothing is known."""
        info = self.values.infos.get(name)
        inferred = info is not None and info.type.tensor_type.HasField("shape")
        return self.initial.get(name, self.values.shape(name) if inferred else None)

    def rank(self, name: str) -> int | None:
        shape = self.shape(name)
        return None if shape is None else len(shape)

    def first(self, node: onnx.NodeProto) -> bool:
        """Whether its first input has tokens, and all else that it takes is constant."""
        return self.tokens(node.input[0]) and self.constants.issuperset(filter(None, node.input[1:]))

    def behind(self, axis: int, name: str, more: int = 0) -> bool:
        """Whether an axis of the tensor, or of one with so many more, is not its first."""
        rank = self.rank(name)
        return rank is not None and axis % (rank + more) != 0

    def axes(self, node: onnx.NodeProto, at: int) -> list[int]:
        """Which a constant input, or an attribute in older operators, names; empty if that is not known."""
        name = node.input[at] if at < len(node.input) else ""
        if not name:
            return list(attributes(node).get("axes", ()))
        cells = self.values.cells(name) if name in self.constants else None
        return [] if cells is None else [int(cell) for cell in cells.reshape(-1).tolist()]

    def broadcasts(self, name: str, rank: int) -> bool:
        """Whether the constant is the same for each token of a tensor of this rank."""
        shape = self.shape(name)
        return shape is not None and (len(shape) < rank or (len(shape) == rank and shape[0] == 1))


Rule = Callable[[Known, onnx.NodeProto], bool]


def _each_cell(known: Known, node: onnx.NodeProto) -> bool:
    names = {name for name in node.input if name}
    tokens = {name for name in names if known.tokens(name)}
    ranks = {known.rank(name) for name in tokens}
    if len(ranks) != 1 or not known.constants.issuperset(names - tokens):
        return False
    (rank,) = ranks
    return rank is not None and all(known.broadcasts(name, rank) for name in names - tokens)


def _product(known: Known, node: onnx.NodeProto) -> bool:
    rank, weights = known.rank(node.input[0]), known.rank(node.input[1])
    return known.first(node) and rank is not None and rank >= 2 and weights in (1, 2)


def _gemm(known: Known, node: onnx.NodeProto) -> bool:
    bias = node.input[2] if len(node.input) > 2 else ""
    plain = not attributes(node).get("transA", 0) and (not bias or known.broadcasts(bias, 2))
    return known.first(node) and plain


def _norm(known: Known, node: onnx.NodeProto) -> bool:
    """Of its other outputs, means and deviations, the shape is another."""
    rank, axis = known.rank(node.input[0]), attributes(node).get("axis", -1)
    if rank is None or not known.first(node) or any(node.output[1:]):
        return False
    return known.behind(axis, node.input[0]) and all(known.broadcasts(name, rank) for name in node.input[1:] if name)


def _along(known: Known, node: onnx.NodeProto) -> bool:
    return known.first(node) and known.behind(attributes(node).get("axis", -1), node.input[0])


def _split(known: Known, node: onnx.NodeProto) -> bool:
    return known.first(node) and known.behind(attributes(node).get("axis", 0), node.input[0])


def _joined(known: Known, node: onnx.NodeProto) -> bool:
    return all(known.tokens(name) and known.behind(attributes(node)["axis"], name) for name in node.input)


def _picked(known: Known, node: onnx.NodeProto) -> bool:
    """Columns of a tensor, or rows of a table that tokens name."""
    data, index = node.input
    axis = attributes(node).get("axis", 0)
    if data in known.constants:
        rank = known.rank(data)
        return known.tokens(index) and bool(rank) and axis % (rank or 1) == 0
    return known.first(node) and known.behind(axis, data)


def _cut(known: Known, node: onnx.NodeProto) -> bool:
    axes = known.axes(node, 3)
    return known.first(node) and bool(axes) and all(known.behind(axis, node.input[0]) for axis in axes)


def _reduced(known: Known, node: onnx.NodeProto) -> bool:
    axes = known.axes(node, 1)
    return known.first(node) and bool(axes) and all(known.behind(axis, node.input[0]) for axis in axes)


def _widened(known: Known, node: onnx.NodeProto) -> bool:
    axes = known.axes(node, 1)
    return known.first(node) and bool(axes) and all(known.behind(axis, node.input[0], len(axes)) for axis in axes)


def _reshaped(known: Known, node: onnx.NodeProto) -> bool:
    """The first axis is as it was, by 0, or because all others are told, and as many cells as they were."""
    shape = known.values.cells(node.input[1]) if node.input[1] in known.constants else None
    if shape is None or not len(shape) or not known.first(node) or attributes(node).get("allowzero", 0):
        return False
    first, *rest = (int(axis) for axis in shape.tolist())
    inner = [axis or 0 for axis in (known.shape(node.input[0]) or ())[1:]]
    return first == 0 or (first == -1 and min(rest, default=1) > 0 and prod(rest) == prod(inner))


def _transposed(known: Known, node: onnx.NodeProto) -> bool:
    perm = attributes(node).get("perm", ())
    return known.first(node) and len(perm) > 0 and perm[0] == 0


def _flat(known: Known, node: onnx.NodeProto) -> bool:
    rank, axis = known.rank(node.input[0]), attributes(node).get("axis", 1)
    return known.first(node) and rank is not None and axis in (1, 1 - rank)


REDUCTIONS = "ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(EACH_CELL.split(), _each_cell),
    **dict.fromkeys(REDUCTIONS.split(), _reduced),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _norm),
    **dict.fromkeys(("LogSoftmax", "Softmax"), _along),
    "Concat": _joined,
    "Flatten": _flat,
    "Gather": _picked,
    "Gemm": _gemm,
    "MatMul": _product,
    "Reshape": _reshaped,
    "Slice": _cut,
    "Split": _split,
    "Squeeze": _reduced,
    "Transpose": _transposed,
    "Unsqueeze": _widened,
}
