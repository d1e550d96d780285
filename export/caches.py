"""Attention with kept keys and values in a graph: one neutral node for each cache, and the same in standard operators.

Exported, a cache is only named: whoever runs the graph keeps its cells as suits the device, and replaces the nodes.

  CachedAttention   q [tokens, heads * width], k, v [tokens, kv_heads * width], lengths, past [rows] → y as q.
                    Writes k and v into cells past to past + lengths of each row; each token attends to all cells up to
                    its own, or to the last `window` of them.
  CrossAttention    q, lengths, filled [rows] → y as q. Each token attends to the row's first `filled` cells, which the
                    start graph gave.

Attributes: cache (its name in the spec), heads, kv_heads, scale (of the scores, before the softmax), and of the first
window (0 for none). Domain "headrace".

`plain` is the slow truth: cells come in padded, [rows, cells, kv_heads, width], and the new ones leave packed.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import torch
from onnx import TensorProto, helper, inliner, parser
from torch import Tensor

from headrace.errors import ConfigurationError
from headrace.spec import FILLED, PAST, ROWS, TOKENS, Cache, ModelSpec
from headrace.training.cached import CachedAttention, CrossAttention
from headrace.training.ragged import State

from .rotary import plainly_turned

DOMAIN = "headrace"
CACHED, CROSS = "CachedAttention", "CrossAttention"

NEW = ".new"
"""Behind the name of a cache's tensor: the cells that a step adds, [tokens, kv_heads, width]."""

#: Each row's queries, and the indices that lead from packed tokens to the padded view; what both nodes begin with.
_QUERIES = """
    zero = Constant <value_int: int = 0> ()
    one = Constant <value_int: int = 1> ()
    first = Constant <value_ints: ints = [0]> ()
    second = Constant <value_ints: ints = [1]> ()
    third = Constant <value_ints: ints = [2]> ()
    longest = ReduceMax <keepdims: int = 0> (lengths)
    time = Range (zero, longest, one)
    column = Unsqueeze (lengths, second)
    last = Sub (column, one)
    step = Unsqueeze (time, first)
    within = Min (step, last)
    starts = CumSum <exclusive: int = 1> (lengths, zero)
    start = Unsqueeze (starts, second)
    tokens = Add (within, start)
    valid = Less (step, column)
    flat = Constant <value_ints: ints = [-1]> ()
    valid_flat = Reshape (valid, flat)
    query_heads = Constant <value_ints: ints = [0, 0, {groups}, {each}, {width}]> ()
    query_rows = Gather (q, tokens)
    query_apart = Reshape (query_rows, query_heads)
    queries = Transpose <perm: ints = [0, 2, 3, 1, 4]> (query_apart)
"""

#: Scores, softmax and the way back to packed tokens; `seen` is [rows, time, cells], or with one time step for all.
_ATTEND = """
    keys_across = Transpose <perm: ints = [0, 2, 3, 1]> (keys)
    keys_shared = Unsqueeze (keys_across, third)
    values_across = Transpose <perm: ints = [0, 2, 1, 3]> (values)
    values_shared = Unsqueeze (values_across, third)
    products = MatMul (queries, keys_shared)
    scale = Constant <value_float: float = {scale}> ()
    scaled = Mul (products, scale)
    middle = Constant <value_ints: ints = [1, 2]> ()
    mask = Unsqueeze (seen, middle)
    never = Constant <value_float: float = -3.0e38> ()
    scores = Where (mask, scaled, never)
    weights = Softmax <axis: int = -1> (scores)
    mixed = MatMul (weights, values_shared)
    back = Transpose <perm: ints = [0, 3, 1, 2, 4]> (mixed)
    merged = Constant <value_ints: ints = [-1, {all}]> ()
    padded = Reshape (back, merged)
    y = Compress <axis: int = 0> (padded, valid_flat)
"""

_CACHED = """
<opset_import: ["" : {opset}], domain: "headrace">
{name} (q, k, v, lengths, past, past_keys, past_values) => (y, new_keys, new_values) {{
{queries}
    cell_heads = Constant <value_ints: ints = [-1, {groups}, {width}]> ()
    new_keys = Reshape (k, cell_heads)
    new_values = Reshape (v, cell_heads)
    key_rows = Gather (new_keys, tokens)
    value_rows = Gather (new_values, tokens)
    keys = Concat <axis: int = 1> (past_keys, key_rows)
    values = Concat <axis: int = 1> (past_values, value_rows)
    past_shape = Shape <start: int = 1, end: int = 2> (past_keys)
    room = Squeeze (past_shape)
    cells = Range (zero, room, one)
    cell = Unsqueeze (cells, first)
    before = Unsqueeze (past, second)
    used = Less (cell, before)
    late = Constant <value_int: int = 9223372036854775807> ()
    old_at = Where (used, cell, late)
    new_at = Add (before, step)
    at = Concat <axis: int = 1> (old_at, new_at)
    cell_at = Unsqueeze (at, second)
    query_at = Unsqueeze (new_at, third)
    reached = LessOrEqual (cell_at, query_at)
{seen}
{attend}
}}
"""

_ALL_SEEN = "    seen = Identity (reached)"

_WINDOW_SEEN = """
    window = Constant <value_int: int = {window}> ()
    oldest = Sub (query_at, window)
    near = Greater (cell_at, oldest)
    seen = And (reached, near)
"""

_CROSS = """
<opset_import: ["" : {opset}], domain: "headrace">
{name} (q, lengths, filled, keys, values) => (y) {{
{queries}
    shape = Shape <start: int = 1, end: int = 2> (keys)
    room = Squeeze (shape)
    cells = Range (zero, room, one)
    cell = Unsqueeze (cells, first)
    there = Unsqueeze (filled, second)
    used = Less (cell, there)
    seen = Unsqueeze (used, second)
{attend}
}}
"""


def cached_attention(part: CachedAttention) -> Callable[..., tuple[Tensor, State]]:
    """Its `forward` while it is traced: the neutral node, and no tensor of the cache."""

    def forward(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        return _node(CACHED, part.cache, q, k, v, lengths, state[PAST], window=part.cache.window or 0), {}

    return forward


def cross_attention(part: CrossAttention) -> Callable[..., Tensor]:
    """The same for attention to a source."""
    return lambda q, lengths, state: _node(CROSS, part.cache, q, lengths, state[FILLED])


def _node(kind: str, cache: Cache, q: Tensor, *others: Tensor, **more: int) -> Tensor:
    heads = q.shape[1] // cache.width
    about = {"cache": cache.name, "heads": heads, "kv_heads": cache.heads, "scale": cache.width**-0.5, **more}
    return torch.onnx.ops.symbolic(f"{DOMAIN}::{kind}", (q, *others), about, dtype=q.dtype, shape=q.shape, version=1)


def neutral(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that have still to be replaced before a graph can run."""
    return [node for node in graph.graph.node if node.domain == DOMAIN and node.op_type in (CACHED, CROSS)]


def plain(graph: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """A copy of standard operators alone.

    Further inputs: of each cache the tensors of its keys and values, [rows, cells, heads, width], of which PAST or
    FILLED cells of each row are used. Further outputs: of each growing one, by the same names and NEW behind, the cells
    that the step adds, [tokens, heads, width].
    Raises ConfigurationError if a node names no cache of `spec`.
    """
    made, caches = onnx.ModelProto(), {cache.name: cache for cache in spec.caches}
    made.CopyFrom(plainly_turned(graph))
    for number, node in enumerate(neutral(made)):
        about = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        cache = caches.get(about["cache"].decode())
        if cache is None:
            raise ConfigurationError(f"{spec.name}: the graph has a cache {about['cache'].decode()}, the spec has none")
        made.functions.append(_function(f"attend{number}", node.op_type, about, cache, opset(made)))
        _rewire(made.graph, node, cache, f"attend{number}")
    inlined: onnx.ModelProto = inliner.inline_local_functions(made)
    return inlined


def _function(name: str, kind: str, about: dict[str, float], cache: Cache, version: int) -> onnx.FunctionProto:
    """The text with the node's numbers in it."""
    sizes = {
        "groups": cache.heads,
        "each": int(about["heads"]) // cache.heads,
        "width": cache.width,
        "all": int(about["heads"]) * cache.width,
        "scale": f"{about['scale']:.9e}",
    }
    window = int(about.get("window", 0))
    seen = _WINDOW_SEEN.format(window=window) if window else _ALL_SEEN
    parts = {"queries": _QUERIES.format(**sizes), "attend": _ATTEND.format(**sizes), "seen": seen}
    text = (_CACHED if kind == CACHED else _CROSS).format(name=name, opset=version, **sizes, **parts)
    return parser.parse_function(text)


def _rewire(graph: onnx.GraphProto, node: onnx.NodeProto, cache: Cache, name: str) -> None:
    """The node becomes a call of function `name`, the cells graph inputs, and the new ones graph outputs."""
    shape, element = (cache.heads, cache.width), TensorProto.FLOAT
    node.op_type = name
    del node.attribute[:]
    for tensor in (cache.keys, cache.values):
        graph.input.append(helper.make_tensor_value_info(tensor, element, [ROWS, f"{cache.name}.cells", *shape]))
        node.input.append(tensor)
        if not cache.filled:
            graph.output.append(helper.make_tensor_value_info(tensor + NEW, element, [TOKENS, *shape]))
            node.output.append(tensor + NEW)


def opset(graph: onnx.ModelProto) -> int:
    """The version of the standard operators in it."""
    return next(int(o.version) for o in graph.opset_import if o.domain == "")
