"""Nodes of a traced graph that look across the padded time axis by themselves, where only ragged layers may.

The last time step of a padded tensor is rewritten to each row's own last one; whatever else is found is told, with the
user's line. Parity decides of whole sequences; a stream is refused where values of several time steps meet.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from .. import padded_ops  # noqa: F401  registers the operators
from .lines import of_trace

ALONG: dict[str, int] = {
    "softmax": 1,
    "_softmax": 1,
    "log_softmax": 1,
    "_log_softmax": 1,
    "cumsum": 1,
    "flip": 1,
    "roll": 2,
}
"""Operators that keep the time axis and mix along it: the place of their argument that names axes."""

MAKING = (
    "new_zeros",
    "new_ones",
    "new_full",
    "new_empty",
    "zeros_like",
    "ones_like",
    "full_like",
    "empty_like",
    "expand_as",
)
"""Operators that take nothing but a kind from what they are given."""

CONVOLUTIONS = ("conv1d", "conv2d", "convolution", "max_pool1d", "avg_pool1d", "max_pool1d_with_indices")


@dataclass(frozen=True, slots=True)
class Suspect:
    """An operator, and the user's line that led to it. meets: whether values of several time steps meet in it."""

    operator: str
    line: str
    meets: bool = True

    def __str__(self) -> str:
        return f"{self.operator} over time" + (f" at {self.line}" if self.line else "")


def rewrite(program: ExportedProgram, lengths: str, rows: Any, time: Any) -> int:
    """Makes `x[:, -1]` each row's last time step, in place; returns how many. rows, time: the axes' symbols."""
    graph = program.graph_module.graph
    (given,) = (node for node in graph.nodes if node.op == "placeholder" and node.name == lengths)
    chosen = [(node, axes) for node in graph.nodes if (axes := _last(node, rows, time)) is not None]
    for node, axes in chosen:
        node.target = torch.ops.headrace.last.default
        node.args = (node.args[0], given, *axes)
    return len(chosen)


def suspects(program: ExportedProgram, time: Any, own: set[str], *, streamed: bool) -> tuple[Suspect, ...]:
    """Each once, in the order of the graph. own: the user's files; streamed: whether steps can begin anywhere."""
    found = (
        Suspect(_name(node), of_trace(node.meta.get("stack_trace"), own), meets)
        for node in program.graph_module.graph.nodes
        if not _masked(node)
        and ((meets := _ends(node, time) or _mixes(node, time)) or (streamed and _counts(node, time)))
    )
    return tuple(dict.fromkeys(found))


def _last(node: Node, rows: Any, time: Any) -> tuple[int, int] | None:
    """The axes of rows and time, if the node takes the last of a padded tensor's time steps."""
    if _name(node) != "select" or not isinstance(node.args[0], Node):
        return None
    shape, axis, index = _shape(node.args[0]), node.args[1], node.args[2]
    assert isinstance(axis, int)
    axis %= len(shape)
    if not same(shape[axis], time) or not any(same(size, rows) for size in shape):
        return None
    index = index.meta["val"] if isinstance(index, Node) else index
    if index != -1 and not same(index, time - 1):
        return None
    return next(k for k, size in enumerate(shape) if same(size, rows)), axis


def _ends(node: Node, time: Any) -> bool:
    """Whether the time axis goes in and does not come out, which is for the ragged operators to do."""
    if node.op != "call_function" or _ours(node) or _gives_its_kind(node) or not _tensors(node):
        return False
    ins = [tuple(x.shape) for part in node.all_input_nodes for x in _tensors(part)]
    return any(_has(shape, time) for shape in ins) and not any(_has(tuple(x.shape), time) for x in _tensors(node))


def _gives_its_kind(node: Node) -> bool:
    """Whether nothing but shape and dtype is taken of it, or by it, as in `torch.zeros_like(x[:, 0])`."""
    kinds = [_name(user) in MAKING or _size(user) for user in node.users]
    return _name(node) in MAKING or (bool(kinds) and all(kinds))


def _tensors(node: Node) -> list[Tensor]:
    """What it gives: one, or several as `max` along an axis does."""
    value = node.meta.get("val")
    return [x for x in (value if isinstance(value, tuple | list) else [value]) if isinstance(x, Tensor)]


def _masked(node: Node) -> bool:
    """Whether it is inside an attention layer, whose padding gets no weight."""
    return any("MultiheadAttention" in str(kind) for _, kind in node.meta.get("nn_module_stack", {}).values())


def _counts(node: Node, time: Any) -> bool:
    """Whether positions are made, which in a stream begin at zero in every step."""
    return _name(node) == "arange" and _has(_shape(node), time)


def _mixes(node: Node, time: Any) -> bool:
    name = _name(node)
    if name == "scaled_dot_product_attention":
        key = node.args[1]
        return isinstance(key, Node) and same(_shape(key)[-2], time)
    if name == "slice":
        ins, outs = _shape(node.all_input_nodes[0]), _shape(node)
        return any(same(n, time) and not same(m, time) for n, m in zip(ins, outs, strict=True))
    if name in CONVOLUTIONS:
        return _has(_shape(node.all_input_nodes[0])[2:], time)
    if name not in ALONG or len(node.args) <= ALONG[name]:
        return False
    shape, given = _shape(node.all_input_nodes[0]), node.args[ALONG[name]]
    axes = given if isinstance(given, list | tuple) else [given]
    return any(same(shape[axis], time) for axis in axes if isinstance(axis, int))


def _ours(node: Node) -> bool:
    return str(node.target).startswith("headrace") or node.target is operator.getitem or _size(node)


def _size(node: Node) -> bool:
    return "sym_size" in str(node.target)


def _name(node: Node) -> str:
    """ "select" of aten.select.int."""
    target = node.target
    return target.overloadpacket.__name__ if isinstance(target, torch._ops.OpOverload) else str(target)


def _shape(node: Node) -> tuple[Any, ...]:
    return tuple(node.meta["val"].shape)


def _has(shape: tuple[Any, ...], symbol: Any) -> bool:
    """Whether an axis is made of it, alone or with others."""
    (wanted,) = symbol.node.expr.free_symbols
    return any(isinstance(size, torch.SymInt) and wanted in size.node.expr.free_symbols for size in shape)


def same(size: Any, symbol: Any) -> bool:
    """Whether two sizes are the same by their symbols, not merely at the traced example."""
    if isinstance(size, torch.SymInt) and isinstance(symbol, torch.SymInt):
        return bool(size.node.expr == symbol.node.expr)
    return False


def symbols(program: ExportedProgram, lengths: str, times: str) -> tuple[Any, Any]:
    """The symbols of the axes of rows and of time."""
    sizes: Iterator[tuple[str, Any]] = (
        (node.name, node.meta["val"].shape[0])
        for node in program.graph_module.graph.nodes
        if node.op == "placeholder" and node.name in (lengths, times)
    )
    by_name = dict(sizes)
    return by_name[lengths], by_name[times]
