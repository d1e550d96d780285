"""The graph with its states inside: Gather(arena, read) → model → ScatterND(arena, write).

An arena holds one state of all sequences, [slots, ...], or a piece of it. It is bound as input and as output of the
same memory, so that ScatterND (ONNX operator spec, opset 18) writes in place and nothing else of it moves. Rows read
one slot and write another, so that the order of Gather and ScatterND does not matter, and a run that fails harms
nobody. A fresh sequence reads a slot that holds the initial value and is never written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from headrace.contract import ELEMENTS
from headrace.spec import Dtype, ModelSpec

from .maps import split
from .pieces import Piece, pieces
from .values import Values

READ, WRITE, SUMS, SLOTS = "headrace:read", "headrace:write", "headrace:sums", "headrace:slots"
"""No name of a spec holds a colon, so that nothing that is added here can collide with it."""
OPSET, IR = 20, 9
"""Of the graphs that are wholly ours."""
COLUMN, DEEP = f"{WRITE}:column", f"{WRITE}:deep"


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A stateful model with its states in arenas, or a stateless one as it was.

    model:  inputs the spec's, READ and WRITE int64 [rows], an arena [slots, ...] for each piece, the index maps, and
            `lengths` where the model needs more of them. Outputs the spec's, an arena for each piece, and SUMS [rows],
            float32, or float64 if a state is: the sum of the new state's cells, not finite if one of them is not;
            absent if all are whole numbers.
    maps:   lengths → the index maps; None if there are none
    """

    model: onnx.ModelProto
    maps: onnx.ModelProto | None
    pieces: tuple[Piece, ...]

    @property
    def sums(self) -> Dtype | None:
        """The dtype of SUMS; None if there are none."""
        return _sums_dtype(self.pieces) if any(piece.real for piece in self.pieces) else None


def arena_in(piece: Piece) -> str:
    return f"{piece.name}:arena"


def arena_out(piece: Piece) -> str:
    return f"{piece.name}:arena:written"


def with_arenas(model: onnx.ModelProto, spec: ModelSpec) -> Wrapped:
    if not spec.stateful:
        return Wrapped(model, None, ())
    values = Values.of(model)
    parts = tuple(piece for state in spec.states for piece in pieces(state, values))
    apart = split(model, values)
    return Wrapped(_wrapped(apart.model, spec, parts), apart.maps, parts)


def reader(parts: Sequence[Piece]) -> onnx.ModelProto:
    """SLOTS [rows] and the arenas → the states in those slots, [rows, ...] for each real piece."""
    real = [piece for piece in parts if piece.real]
    graph = helper.make_graph(
        [helper.make_node("Gather", [arena_in(p), SLOTS], [f"{p.name}:cells"], axis=0) for p in real],
        "reader",
        [helper.make_tensor_value_info(SLOTS, TensorProto.INT64, ["rows"]), *(_arena(p, arena_in(p)) for p in real)],
        [helper.make_tensor_value_info(f"{p.name}:cells", ELEMENTS[p.state.dtype], None) for p in real],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def copier(parts: Sequence[Piece]) -> onnx.ModelProto:
    """READ and WRITE [rows] and the arenas → the arenas, the states of some slots in others too."""
    axes = numpy_helper.from_array(np.array([1], np.int64), f"{COLUMN}:axes")
    copies = [
        node
        for p in parts
        for node in (
            helper.make_node("Gather", [arena_in(p), READ], [f"{p.name}:cells"], axis=0),
            helper.make_node("ScatterND", [arena_in(p), COLUMN, f"{p.name}:cells"], [arena_out(p)]),
        )
    ]
    control = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows"]) for name in (READ, WRITE)]
    graph = helper.make_graph(
        [helper.make_node("Unsqueeze", [WRITE, axes.name], [COLUMN]), *copies],
        "copier",
        [*control, *(_arena(p, arena_in(p)) for p in parts)],
        [_arena(p, arena_out(p)) for p in parts],
        [axes],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def _wrapped(model: onnx.ModelProto, spec: ModelSpec, parts: Sequence[Piece]) -> onnx.ModelProto:
    graph = model.graph
    ins, outs = {s.input for s in spec.states}, {s.output for s in spec.states}
    inner = [node for node in graph.node if not _replaced(node, parts)]
    arenas_in, arenas_out = ([_arena(p, name(p)) for p in parts] for name in (arena_in, arena_out))
    slots = (READ, WRITE) if parts else ()  # a model of caches alone carries no state
    control = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows"]) for name in slots]
    wrapped = helper.make_graph(
        [*map(_read, parts), *inner, *_write_index(parts), *map(_write, parts), *_sums(parts)],
        graph.name,
        [*(i for i in graph.input if i.name not in ins), *control, *arenas_in],
        [*(o for o in graph.output if o.name not in outs), *_sums_out(parts), *arenas_out],
        [*graph.initializer, *_constants(parts)],
        sparse_initializer=graph.sparse_initializer,
    )
    return helper.make_model(
        wrapped, opset_imports=model.opset_import, functions=model.functions, ir_version=model.ir_version
    )


def _replaced(node: onnx.NodeProto, parts: Sequence[Piece]) -> bool:
    """Whether the node only takes a state apart, or joins it."""
    apart = [piece for piece in parts if piece.part is not None]
    joined = {piece.state.output for piece in apart} - {piece.written for piece in apart}
    return any(name in joined or any(name == piece.read for piece in apart) for name in node.output)


def _arena(piece: Piece, name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ELEMENTS[piece.state.dtype], ["slots", *piece.shape])


def _read(piece: Piece) -> onnx.NodeProto:
    return helper.make_node("Gather", [arena_in(piece), READ], [piece.read], axis=0)


def _write_index(parts: Sequence[Piece]) -> Iterator[onnx.NodeProto]:
    """[rows, 1], and [rows, 1, 1] for those whose new values have an axis of one layer more than their arena."""
    if not parts:
        return
    yield helper.make_node("Unsqueeze", [WRITE, f"{COLUMN}:axes"], [COLUMN])
    if any(piece.flat for piece in parts):
        yield helper.make_node("Unsqueeze", [WRITE, f"{DEEP}:axes"], [DEEP])


def _write(piece: Piece) -> onnx.NodeProto:
    index = DEEP if piece.flat else COLUMN
    return helper.make_node("ScatterND", [arena_in(piece), index, piece.written], [arena_out(piece)])


def _sums_dtype(parts: Sequence[Piece]) -> Dtype:
    return "float64" if any(piece.state.dtype == "float64" for piece in parts) else "float32"


def _sums(parts: Sequence[Piece]) -> Iterator[onnx.NodeProto]:
    real = [piece for piece in parts if piece.real]
    for piece in real:
        yield from _sum(piece, _sums_dtype(parts))
    if real:
        yield helper.make_node("Sum", [f"{arena_in(piece)}:sum" for piece in real], [SUMS])


def _sum(piece: Piece, dtype: Dtype) -> Iterator[onnx.NodeProto]:
    """[rows]. Widened before, since the sum of what is finite in half precision need not be so."""
    p, cells = arena_in(piece), piece.written
    if piece.state.dtype != dtype:
        cells = f"{p}:wide"
        yield helper.make_node("Cast", [piece.written], [cells], to=ELEMENTS[dtype])
    yield helper.make_node("Flatten", [cells], [f"{p}:flat"], axis=1)
    yield helper.make_node("ReduceSum", [f"{p}:flat", f"{COLUMN}:axes"], [f"{p}:sum"], keepdims=0)


def _sums_out(parts: Sequence[Piece]) -> Iterator[onnx.ValueInfoProto]:
    if any(piece.real for piece in parts):
        yield helper.make_tensor_value_info(SUMS, ELEMENTS[_sums_dtype(parts)], ["rows"])


def _constants(parts: Sequence[Piece]) -> Iterator[TensorProto]:
    yield numpy_helper.from_array(np.array([1], np.int64), f"{COLUMN}:axes")
    if any(piece.flat for piece in parts):
        yield numpy_helper.from_array(np.array([1, 2], np.int64), f"{DEEP}:axes")
