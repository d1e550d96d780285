"""The tail of a graph runs for those tokens alone whose outputs are asked for.

Of a prompt only the last token's logits are wanted; what the others leave behind are keys and values. So behind the
last attention nobody needs most of the tokens. Nodes of which nothing but outputs with a time axis hangs, and which
treat each token by itself, make up the tail, however long it can be proved to be; all that enters it is gathered. If
nothing can be proved, the tail is empty, and the outputs themselves are gathered: the answers are the same.

An attention on which nothing but the tail hangs is asked for no more itself: it writes the cells of all tokens, and
looks back from those alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

import onnx
from onnx import TensorProto, helper

from headrace.spec import Output

from ..values import Values, used
from .kinds import Layout
from .nodes import Nodes
from .rewrite import ASKED_ALONE, found, typed
from .tokenwise import TOKENS, Known

ASKED = "headrace:asked"
"""[asked] int64: the tokens whose outputs are asked for, at least one."""


def shorten(model: onnx.ModelProto, layout: Layout, outputs: Sequence[Output]) -> None:
    """model: with neutral nodes; of `outputs` those with a time axis are [tokens, ...]. It is changed in place, for a
    copy has all weights: it takes ASKED then, and they are [asked, ...]. Raises ConfigurationError if its nodes are not
    those of the layout's caches."""
    graph, timed = model.graph, {output.name for output in outputs if output.time}
    known = Known.of(graph, Values.of(model, list(_attended(model, layout))))
    cut = _cut(graph, known, timed, found(model, layout).keys())
    del graph.node[:]
    graph.node.extend(cut.nodes)
    graph.input.append(typed(ASKED, TensorProto.INT64, ["asked"]))
    for output in graph.output:
        if output.name in timed:
            output.type.tensor_type.shape.dim[0].dim_param = "asked"


def _cut(graph: onnx.GraphProto, known: Known, timed: Set[str], attended: Set[str]) -> Nodes:
    """All else, then what is gathered, then the tail. attended: what attention nodes give."""
    n, tail = Nodes("headrace:tail"), _tail(graph, known, timed)
    rest = [node for node in graph.node if not any(node is each for each in tail)]
    ours = {name for node in tail for name in node.output}
    entering = {name for node in tail for name in used(node)} - ours - known.constants
    alone = (attended & (entering | timed)) - {name for node in rest for name in used(node)}
    asked = {name: f"{name}:asked" for name in sorted(entering - timed - alone)}
    whole = {name: f"{name}:whole" for name in sorted(timed - ours - alone)}
    n.nodes += [_asked_alone(_renamed(node, whole), alone) for node in rest]
    for name, other in [*asked.items(), *((other, name) for name, other in whole.items())]:
        n("Gather", name, ASKED, out=other)
    n.nodes += [_renamed(node, asked) for node in tail]
    return n


def _attended(model: onnx.ModelProto, layout: Layout) -> Iterator[onnx.ValueInfoProto]:
    """What the neutral nodes give; that of the nodes behind them can be inferred then."""
    for node in found(model, layout).values():
        yield typed(node.output, TensorProto.FLOAT, [TOKENS, node.heads * layout.kind(node.cache).width])


def _tail(graph: onnx.GraphProto, known: Known, timed: Set[str]) -> list[onnx.NodeProto]:
    """In the graph's order. held: names that must be of all tokens."""
    held, tail = {output.name for output in graph.output} - timed, list[onnx.NodeProto]()
    for node in reversed(graph.node):
        if held.isdisjoint(node.output) and known.tokenwise(node):
            tail.append(node)
        else:
            held.update(used(node))
    return tail[::-1]


def _asked_alone(node: onnx.NodeProto, names: Set[str]) -> onnx.NodeProto:
    if not names.isdisjoint(node.output):
        node.attribute.append(helper.make_attribute(ASKED_ALONE, 1))
    return node


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """A copy, its inner graphs' names too."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    _rename(copy, names)
    return copy


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    for side in (node.input, node.output):
        side[:] = [names.get(name, name) for name in side]
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for each in inner.node:
                _rename(each, names)
