"""Neutral attention nodes as operators that write and read arenas in place (those of export/caches.py).

A cache has two arenas, keys and values, [rows, heads, cells, width] each, of which a tick takes a range of rows. Its
tokens come sorted: first rows of one token, in the order of the range, then chunks, rows of several.

  ScatterND               writes the cells of chunks;
  GroupQueryAttention     (com.microsoft) writes and attends rows of one token, each as far as it is filled;
  Loop of exact slices    attends the chunks, one by one.

An arena in, after ScatterND and out are one buffer, bound three times: nothing is copied. The operator knows no idle
row: rows of the range without a token write their own cell 0 again, and cost one cell. A filled cache does not grow:
there each row writes its own last cell again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from headrace.errors import ConfigurationError

from ..values import attributes
from .kinds import Layout
from .nodes import Nodes

DOMAIN, CACHED, CROSS, ROTARY = "headrace", "CachedAttention", "CrossAttention", "Rotary"
MICROSOFT = "com.microsoft"
ASKED_ALONE = "asked"
"""Attribute of a neutral node that gives nothing but what is asked for (tail.py)."""

QUERIES, NEW = "headrace:pick:queries", "headrace:pick:new"
"""[range, 1] int64: the token of each row of the range; of NEW, a row without one names its own cell 0 behind them."""
SINGLES = "headrace:singles"
"""[singles] int64: the rows of the range that have one token."""
IDLE = "headrace:idle"
"""[2] int64: how many rows, and cells of each, may be named by NEW: (0, 1) where every row has a token."""
LOW, BEGIN, END = "headrace:chunk:low", "headrace:chunk:begin", "headrace:chunk:end"
"""Of chunks: row of the range and cell 0, [chunks, 2]; first token, and the one behind the last, [chunks, 1]."""
TURNS = "headrace:turns"
"""[1, tokens] int64: which row of its tick's cosines and sines is each token's, its own."""
SUMS = "headrace:cells:sums"
"""[tokens] float32: of each token the sum of its new cells, not finite if one of them is not."""


def of_asked(name: str) -> str:
    """The same as SINGLES, LOW, BEGIN, END and `high`, of rows and tokens alone whose outputs are asked for."""
    return f"{name}:asked"


ALL, NEVER = 2**62, -3.0e38


def of_kind(kind: int, what: str) -> str:
    """Of a kind of caches: `last` [range] int32, each row's last cell; `total` [] int32, cells of the longest;
    `high` [chunks, 2], row + 1 and cells behind this tick; of growing ones `cells` [tokens of chunks, heads, 3] and
    `place` [tokens], where new cells lie; of filled ones `own` [range, heads, 1], the last cell again."""
    return f"headrace:{kind}:{what}"


def arena_in(tensor: str) -> str:
    return f"{tensor}:arena"


def arena_between(tensor: str) -> str:
    """With the cells of chunks."""
    return f"{tensor}:arena:chunks"


def arena_out(tensor: str) -> str:
    return f"{tensor}:arena:written"


@dataclass(frozen=True, slots=True)
class Node:
    """One neutral node. heads: of the queries; cache: its number in the layout; asked: of ASKED_ALONE."""

    inputs: tuple[str, ...]
    output: str
    cache: int
    heads: int
    scale: float
    asked: bool


def rewritten(model: onnx.ModelProto, layout: Layout) -> onnx.ModelProto:
    """Raises ConfigurationError if its nodes are not those of the layout's caches, one each."""
    graph, n, nodes = model.graph, Nodes("headrace:caches"), found(model, layout)
    for node in graph.node:
        if node.domain == DOMAIN and node.op_type == ROTARY:
            turned(n, node)
        elif node.domain == DOMAIN:
            _attention(n, nodes[node.output[0]], layout)
        else:
            n.nodes.append(node)
    new = [name for node in nodes.values() if not layout.kind(node.cache).filled for name in node.inputs[1:3]]
    outputs = [*graph.output, *summed(n, new), *arenas_of(layout, arena_between, arena_out)]
    return made(model, n, n.nodes, [*graph.input, *_controls(layout), *arenas_of(layout, arena_in)], outputs)


def found(model: onnx.ModelProto, layout: Layout) -> dict[str, Node]:
    """The attention nodes, by what they give. Raises ConfigurationError as `rewritten` does."""
    names = [cache.name for cache in layout.caches]
    nodes = [n for n in model.graph.node if n.domain == DOMAIN and n.op_type != ROTARY]
    about = {node.output[0]: _about(node, layout, names) for node in nodes}
    if sorted(node.cache for node in about.values()) != list(range(len(names))):
        raise ConfigurationError(
            f"the graph must have one attention node for each cache of its spec: {', '.join(names)}"
        )
    return about


def made(
    model: onnx.ModelProto,
    n: Nodes,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """The model with these nodes instead of its own, whose constants are those of `n` too."""
    graph = model.graph
    whole = helper.make_graph(
        nodes,
        graph.name,
        inputs,
        outputs,
        [*graph.initializer, *n.constants.values()],
        sparse_initializer=graph.sparse_initializer,
    )
    opsets = [o for o in model.opset_import if o.domain not in (DOMAIN, MICROSOFT)]
    return helper.make_model(
        whole,
        opset_imports=[*opsets, helper.make_opsetid(MICROSOFT, 1)],
        functions=model.functions,
        ir_version=model.ir_version,
    )


def _about(node: onnx.NodeProto, layout: Layout, names: Sequence[str]) -> Node:
    about = attributes(node)
    name = about["cache"].decode()
    if node.op_type not in (CACHED, CROSS) or name not in names:
        raise ConfigurationError(f"the graph has a node {node.op_type} of a cache {name}, which its spec does not know")
    kind, window = layout.kind(names.index(name)), about.get("window", 0)
    if kind.window != window:
        raise ConfigurationError(f"the graph gives cache {name} a window of {window}, and its spec of {kind.window}")
    if kind.heads != about["kv_heads"]:
        raise ConfigurationError(
            f"the graph gives cache {name} {about['kv_heads']} heads of keys, and its spec {kind.heads}"
        )
    return Node(
        tuple(node.input), node.output[0], names.index(name), about["heads"], about["scale"], ASKED_ALONE in about
    )


def turned(n: Nodes, node: onnx.NodeProto) -> None:
    """The operator takes tables of positions; those of this tick are its tokens' own cosines and sines."""
    x, *turns = node.input  # [tokens, heads * width], [tokens, 1, width / 2] each
    tables = [n("Squeeze", turn, n.ints(1)) for turn in turns]
    row = n("Unsqueeze", x, n.ints(0))
    y = n("RotaryEmbedding", row, TURNS, *tables, domain=MICROSOFT)
    n("Squeeze", y, n.ints(0), out=node.output[0])


def _attention(n: Nodes, node: Node, layout: Layout) -> None:
    """The rows of one token first, then the chunks."""
    kind, cache = layout.kind(node.cache), layout.caches[node.cache]
    number, tensors = layout.of[node.cache], (cache.keys, cache.values)
    queries = n("Gather", node.inputs[0], QUERIES)  # [range, 1, heads * width]
    if kind.filled:
        arenas = [arena_in(tensor) for tensor in tensors]
        rows = [own(n, arena, number) for arena in arenas]
    else:
        written = [_written(n, *pair, number, layout) for pair in zip(tensors, node.inputs[1:3], strict=True)]
        arenas, rows = [arena for arena, _ in written], [row for _, row in written]
    y, *_ = n.several(
        "GroupQueryAttention",
        *(queries, *rows, *arenas, of_kind(number, "last"), of_kind(number, "total")),
        out=[f"{node.output}:singles", *map(arena_out, tensors)],
        domain=MICROSOFT,
        num_heads=node.heads,
        kv_num_heads=kind.heads,
        scale=node.scale,
        local_window_size=kind.window or -1,
    )
    told = of_asked if node.asked else str
    singles = n("Squeeze", n("Gather", y, told(SINGLES)), n.ints(1))  # [singles, heads * width]
    chunks = n("Squeeze", n("Shape", told(LOW), start=0, end=1))
    n("Loop", chunks, "", singles, out=node.output, body=_chunk(node, arenas, layout, told))


def own(n: Nodes, arena: str, kind: int) -> str:
    """[range, 1, heads * width], each row's own last cell."""
    cells = n("GatherND", arena, of_kind(kind, "own"), batch_dims=2)  # [range, heads, width]
    return n("Unsqueeze", n("Flatten", cells, axis=1), n.ints(1))


def _written(n: Nodes, tensor: str, new: str, kind: int, layout: Layout) -> tuple[str, str]:
    """The arena with the cells of chunks, and [range, 1, heads * width]: the new cell of each row of one token."""
    of = layout.kinds[kind]
    later = n("Slice", new, n("Shape", SINGLES), n.ints(ALL), n.ints(0))  # [tokens of chunks, heads * width]
    apart = n("Reshape", later, n.ints(-1, of.heads, of.width))
    arena = n("ScatterND", arena_in(tensor), of_kind(kind, "cells"), apart, out=arena_between(tensor))
    first = n("Slice", arena, n.ints(0, 0), IDLE, n.ints(0, 2))  # [range, heads, 1, width], or of no row
    both = n("Concat", new, n("Reshape", first, n.ints(-1, of.heads * of.width)), axis=0)
    return arena, n("Gather", both, NEW)


def _chunk(node: Node, arenas: Sequence[str], layout: Layout, told: Callable[[str], str]) -> onnx.GraphProto:
    """Body of the Loop: softmax(q kᵀ · scale) v of one row (Vaswani et al. 2017, equation 1), behind what is done."""
    p, number, kind = f"{node.output}:chunk", layout.of[node.cache], layout.kind(node.cache)
    n, each, width = Nodes(p), node.heads // kind.heads, kind.width
    low, high = (n("Gather", x, f"{p}:it") for x in (told(LOW), told(of_kind(number, "high"))))  # [2]
    begin, end = (n("Gather", x, f"{p}:it") for x in (told(BEGIN), told(END)))  # [1]
    taken = n("Slice", node.inputs[0], begin, end, n.ints(0))  # [time, heads * width]
    scaled = n("Mul", taken, n.number(node.scale))
    apart = n("Transpose", n("Reshape", scaled, n.ints(0, kind.heads, each, width)), perm=[1, 2, 0, 3])
    query = n("Reshape", apart, n.ints(1, kind.heads, -1, width))  # [1, kv_heads, heads / kv_heads * time, width]
    keys, values = (n("Slice", arena, low, high, n.ints(0, 2)) for arena in arenas)  # [1, kv_heads, cells, width]
    scores = n("MatMul", query, n("Transpose", keys, perm=[0, 1, 3, 2]))
    if not kind.filled:
        scores = _causal(n, scores, keys, number, layout, (begin, end))
    mixed = n("MatMul", n("Softmax", scores, axis=-1), values)
    back = n("Transpose", n("Reshape", mixed, n.ints(kind.heads, each, -1, width)), perm=[2, 0, 1, 3])
    n("Concat", f"{p}:done", n("Reshape", back, n.ints(-1, node.heads * width)), axis=0, out=f"{p}:done:out")
    n("Identity", f"{p}:go", out=f"{p}:go:out")
    before = [typed(f"{p}:it", TensorProto.INT64, []), typed(f"{p}:go", TensorProto.BOOL, [])]
    after = [typed(f"{p}:go:out", TensorProto.BOOL, [])]
    done = [typed(name, TensorProto.FLOAT, [None, node.heads * width]) for name in (f"{p}:done", f"{p}:done:out")]
    return helper.make_graph(n.nodes, "chunk", [*before, done[0]], [*after, done[1]], list(n.constants.values()))


def _causal(n: Nodes, scores: str, keys: str, kind: int, layout: Layout, tokens: tuple[str, str]) -> str:
    """scores [1, kv_heads, heads / kv_heads * time, cells], minus infinity almost where a token does not look."""
    place = n("Unsqueeze", n("Slice", of_kind(kind, "place"), *tokens, n.ints(0)), n.ints(1))  # [time, 1]
    cell = n("Range", n.whole(0), n("Squeeze", n("Shape", keys, start=2, end=3)), n.whole(1))  # [cells]
    seen = n("LessOrEqual", cell, place)
    if layout.kinds[kind].window:
        seen = n("And", seen, n("Greater", cell, n("Sub", place, n.ints(layout.kinds[kind].window))))
    apart = n("Concat", n.ints(layout.kinds[kind].heads, -1), n("Shape", seen), axis=0)
    masked = n("Where", seen, n("Reshape", scores, apart), n.number(NEVER))
    return n("Reshape", masked, n("Shape", scores))


def summed(n: Nodes, new: Sequence[str]) -> Iterator[onnx.ValueInfoProto]:
    """new: each [tokens, ...]; their sums together, of each token, as a result of the graph."""
    if new:
        n("Sum", *(n("ReduceSum", name, n.ints(1), keepdims=0) for name in new), out=SUMS)
        yield typed(SUMS, TensorProto.FLOAT, ["tokens"])


def _controls(layout: Layout) -> Iterator[onnx.ValueInfoProto]:
    yield from (typed(name, TensorProto.INT64, ["range", 1]) for name in (QUERIES, NEW))
    yield typed(IDLE, TensorProto.INT64, [2])
    yield typed(TURNS, TensorProto.INT64, [1, "tokens"])
    for told, some in ((str, ""), (of_asked, "asked ")):
        yield typed(told(SINGLES), TensorProto.INT64, [f"{some}singles"])
        for name, axis in ((LOW, 2), (BEGIN, 1), (END, 1)):
            yield typed(told(name), TensorProto.INT64, [f"{some}chunks", axis])
    for number, kind in enumerate(layout.kinds):
        yield typed(of_kind(number, "last"), TensorProto.INT32, ["range"])
        yield typed(of_kind(number, "total"), TensorProto.INT32, [])
        yield typed(of_kind(number, "high"), TensorProto.INT64, ["chunks", 2])
        yield typed(of_asked(of_kind(number, "high")), TensorProto.INT64, ["asked chunks", 2])
        if kind.filled:
            yield typed(of_kind(number, "own"), TensorProto.INT64, ["range", kind.heads, 1])
        else:
            yield typed(of_kind(number, "cells"), TensorProto.INT64, ["late", kind.heads, 3])
            yield typed(of_kind(number, "place"), TensorProto.INT64, ["tokens"])


def arenas_of(layout: Layout, *names: Callable[[str], str]) -> Iterator[onnx.ValueInfoProto]:
    """Of each cache, as they are called by `names`; a filled one has no cells of chunks."""
    for number, cache in enumerate(layout.caches):
        kind = layout.kind(number)
        for name in names if not kind.filled else [each for each in names if each is not arena_between]:
            for tensor in (cache.keys, cache.values):
                yield typed(name(tensor), TensorProto.FLOAT, ["range", kind.heads, kind.room, kind.width])


def typed(name: str, element: int, shape: Sequence[int | str | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)
