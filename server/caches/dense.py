"""The graph of a tick whose rows have one token each and fill their range: nothing stands around GroupQueryAttention.

Most ticks of texts that are being written are so. Where queries, keys and values are the parts of one product, and
turned, as those of our own models are, the operator takes the product whole and turns it itself:

  Gemm → Reshape → GroupQueryAttention → Reshape → Gemm

It takes a table of cosines and sines by position; here that is those of the tick's own tokens, the position of row i
is i, and rows behind them, which the operator wants for each cell, are zero and never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from ..values import Values, used
from .kinds import Layout
from .nodes import Nodes
from .rewrite import (
    DOMAIN,
    MICROSOFT,
    ROTARY,
    TURNS,
    Node,
    arena_in,
    arena_out,
    arenas_of,
    found,
    made,
    of_kind,
    own,
    summed,
    turned,
    typed,
)

MULTIPLE = 16
"""Of a head's width, where the operator turns it."""

ROWS, PADS = "headrace:rows", "headrace:pads"
"""[rows, 1] int64: which row of the tick's cosines and sines is each row's; [4], as Pad takes them, up to `total`."""


@dataclass(frozen=True, slots=True)
class Packed:
    """product [tokens, 3 * heads * width]: queries, keys, values; cosine, sine [tokens, 1, width / 2]."""

    product: str
    cosine: str
    sine: str


def dense(model: onnx.ModelProto, layout: Layout) -> onnx.ModelProto:
    """Raises ConfigurationError if its nodes are not those of the layout's caches, one each."""
    graph, n, values, nodes = model.graph, Nodes("headrace:dense"), Values.of(model), found(model, layout)
    packed = {node.output: _packed(node, layout, values) for node in nodes.values()}
    for node in graph.node:
        if node.domain == DOMAIN and node.op_type == ROTARY:
            turned(n, node)
        elif node.domain == DOMAIN:
            about = nodes[node.output[0]]
            _attention(n, about, packed[about.output], layout)
        else:
            n.nodes.append(node)
    new = [name for node in nodes.values() for name in _new(node, packed[node.output], layout)]
    sums = list(summed(n, new))
    outputs = [*graph.output, *sums, *arenas_of(layout, arena_out)]
    needed = _needed(n.nodes, [output.name for output in outputs])
    return made(model, n, needed, [*graph.input, *_controls(layout), *arenas_of(layout, arena_in)], outputs)


def _packed(node: Node, layout: Layout, values: Values) -> Packed | None:
    """The product, if its parts are turned as GroupQueryAttention would do it, and so many as it would take them."""
    if layout.kind(node.cache).filled or layout.kind(node.cache).width % MULTIPLE:
        return None
    *turns, value = [values.makers.get(name) for name in node.inputs[:3]]
    if value is None or value.op_type != "Split" or not all(_turns(turn, node, layout) for turn in turns):
        return None
    first, second = [list(turn.input) for turn in turns if turn is not None]
    even = node.heads == layout.kind(node.cache).heads and len(value.output) == 3 and len(value.input) == 1
    if not even or first[1:] != second[1:] or [first[0], second[0], node.inputs[2]] != list(value.output):
        return None
    return Packed(value.input[0], first[1], first[2])


def _turns(node: onnx.NodeProto | None, of: Node, layout: Layout) -> bool:
    if node is None or node.domain != DOMAIN or node.op_type != ROTARY:
        return False
    return bool(helper.get_node_attr_value(node, "width") == layout.kind(of.cache).width)


def _attention(n: Nodes, node: Node, packed: Packed | None, layout: Layout) -> None:
    kind, cache = layout.kind(node.cache), layout.caches[node.cache]
    pair, number, turns = (cache.keys, cache.values), layout.of[node.cache], list[str]()
    if packed is not None:
        given = [n("Unsqueeze", packed.product, n.ints(1)), "", ""]
        turns = [*(n("Pad", n("Squeeze", turn, n.ints(1)), PADS) for turn in (packed.cosine, packed.sine)), ROWS]
    elif kind.filled:
        given = [n("Unsqueeze", node.inputs[0], n.ints(1)), *(own(n, arena_in(each), number) for each in pair)]
    else:
        given = [n("Unsqueeze", part, n.ints(1)) for part in node.inputs[:3]]
    y, *_ = n.several(
        "GroupQueryAttention",
        *(*given, *map(arena_in, pair), of_kind(number, "last"), of_kind(number, "total"), *turns),
        out=[f"{node.output}:rows", *map(arena_out, pair)],
        domain=MICROSOFT,
        num_heads=node.heads,
        kv_num_heads=kind.heads,
        scale=node.scale,
        local_window_size=kind.window or -1,
        do_rotary=int(packed is not None),
    )
    n("Squeeze", y, n.ints(1), out=node.output)


def _new(node: Node, packed: Packed | None, layout: Layout) -> Sequence[str]:
    """What is finite only if the new cells are."""
    if layout.kind(node.cache).filled:
        return ()
    return node.inputs[1:3] if packed is None else (packed.product,)


def _needed(nodes: Sequence[onnx.NodeProto], names: Sequence[str]) -> list[onnx.NodeProto]:
    """Those that the results hang on, in their order."""
    wanted, kept = set(names), list[onnx.NodeProto]()
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(used(node))
    return kept[::-1]


def _controls(layout: Layout) -> Iterator[onnx.ValueInfoProto]:
    yield typed(TURNS, TensorProto.INT64, [1, "tokens"])
    yield typed(ROWS, TensorProto.INT64, ["rows", 1])
    yield typed(PADS, TensorProto.INT64, [4])
    for number, kind in enumerate(layout.kinds):
        yield typed(of_kind(number, "last"), TensorProto.INT32, ["rows"])
        yield typed(of_kind(number, "total"), TensorProto.INT32, [])
        if kind.filled:
            yield typed(of_kind(number, "own"), TensorProto.INT64, ["rows", kind.heads, 1])
