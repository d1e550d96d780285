"""The graph with its states inside: Gather(arena, read) → initial where fresh → model → ScatterND(arena, write).

An arena holds one state of all sequences, [slots, ...]. It is bound as input and as output of the same memory, so that
ScatterND (ONNX operator spec, opset 18) writes in place and nothing else of it moves. Rows read one slot and write
another, so that the order of Gather and ScatterND does not matter, and a run that fails harms nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from headrace.contract import ELEMENTS
from headrace.spec import ModelSpec, State

READ, WRITE, FRESH, FINITE = "headrace:read", "headrace:write", "headrace:fresh", "headrace:finite"
"""No name of a spec holds a colon, so that nothing that is added here can collide with it."""


def arena_in(state: State) -> str:
    return f"{state.name}:arena"


def arena_out(state: State) -> str:
    return f"{state.name}:arena:written"


def with_arenas(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """The same model with states in arenas. A stateless model comes back as it is.

    Inputs: the spec's, `lengths`, READ and WRITE int64 [rows], FRESH bool [rows], an arena [slots, ...] for each state.
    Outputs: the spec's, FINITE bool [rows] over the new states, an arena for each state.
    """
    if not spec.states:
        return model
    graph = model.graph
    ins, outs = {s.input for s in spec.states}, {s.output for s in spec.states}
    before = [node for state in spec.states for node in _read(state)]
    after = [node for state in spec.states for node in _write(state)]
    control = [
        helper.make_tensor_value_info(READ, TensorProto.INT64, ["rows"]),
        helper.make_tensor_value_info(WRITE, TensorProto.INT64, ["rows"]),
        helper.make_tensor_value_info(FRESH, TensorProto.BOOL, ["rows"]),
    ]
    wrapped = helper.make_graph(
        [*before, *graph.node, *_write_index(), *after, *_finite(spec.states)],
        graph.name,
        [*(i for i in graph.input if i.name not in ins), *control, *(_arena(s, arena_in(s)) for s in spec.states)],
        [
            *(o for o in graph.output if o.name not in outs),
            helper.make_tensor_value_info(FINITE, TensorProto.BOOL, ["rows"]),
            *(_arena(s, arena_out(s)) for s in spec.states),
        ],
        [*graph.initializer, *(t for s in spec.states for t in _constants(s))],
        sparse_initializer=graph.sparse_initializer,
    )
    return helper.make_model(
        wrapped, opset_imports=model.opset_import, functions=model.functions, ir_version=model.ir_version
    )


def _arena(state: State, name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ELEMENTS[state.dtype], ["slots", *state.shape])


def _constants(state: State) -> Iterator[TensorProto]:
    rank, p = len(state.shape), arena_in(state)
    yield numpy_helper.from_array(np.ascontiguousarray(state.cells()[None]), f"{p}:initial")
    yield numpy_helper.from_array(np.array([-1] + [1] * rank, np.int64), f"{p}:column")
    yield numpy_helper.from_array(np.array([0, -1], np.int64), f"{p}:row_shape")
    zeros = np.float64 if state.dtype == "float64" else np.float32
    yield numpy_helper.from_array(np.zeros((prod(state.shape), 1), zeros), f"{p}:zeros")


def _read(state: State) -> Iterator[onnx.NodeProto]:
    p = arena_in(state)
    yield helper.make_node("Gather", [p, READ], [f"{p}:kept"], axis=0)
    yield helper.make_node("Reshape", [FRESH, f"{p}:column"], [f"{p}:fresh"])
    if state.dtype != "bool":
        yield helper.make_node("Where", [f"{p}:fresh", f"{p}:initial", f"{p}:kept"], [state.input])
        return
    # The CPU has no Where of truth values.
    yield helper.make_node("Cast", [f"{p}:initial"], [f"{p}:initial:number"], to=TensorProto.UINT8)
    yield helper.make_node("Cast", [f"{p}:kept"], [f"{p}:kept:number"], to=TensorProto.UINT8)
    yield helper.make_node("Where", [f"{p}:fresh", f"{p}:initial:number", f"{p}:kept:number"], [f"{p}:number"])
    yield helper.make_node("Cast", [f"{p}:number"], [state.input], to=TensorProto.BOOL)


def _write_index() -> Iterator[onnx.NodeProto]:
    last = helper.make_tensor("last", TensorProto.INT64, [1], [-1])
    yield helper.make_node("Constant", [], [f"{WRITE}:last"], value=last)
    yield helper.make_node("Unsqueeze", [WRITE, f"{WRITE}:last"], [f"{WRITE}:index"])


def _write(state: State) -> Iterator[onnx.NodeProto]:
    yield helper.make_node("ScatterND", [arena_in(state), f"{WRITE}:index", state.output], [arena_out(state)])


def _finite(states: tuple[State, ...]) -> Iterator[onnx.NodeProto]:
    """x · 0 is 0 for finite x and NaN otherwise: a row times the zero vector is 0 only if all of the row is finite."""
    floats = [state for state in states if np.dtype(state.dtype).kind == "f"]
    sums = [f"{arena_in(state)}:sum" for state in floats]
    for state in floats:
        yield from _sum(state)
    if not sums:  # integers are finite
        yield helper.make_node("Equal", [WRITE, WRITE], [FINITE])
        return
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    yield helper.make_node("Constant", [], [f"{FINITE}:zero"], value=zero)
    yield helper.make_node("Sum", sums, [f"{FINITE}:sum"])
    yield helper.make_node("Squeeze", [f"{FINITE}:sum", f"{WRITE}:last"], [f"{FINITE}:flat"])
    yield helper.make_node("Equal", [f"{FINITE}:flat", f"{FINITE}:zero"], [FINITE])


def _sum(state: State) -> Iterator[onnx.NodeProto]:
    """[rows, 1] float32. Half precision is widened before, since the CPU has no product of it; double narrowed after,
    since what is finite in it need not be so in float32."""
    p, row = arena_in(state), f"{arena_in(state)}:row"
    yield helper.make_node("Reshape", [state.output, f"{p}:row_shape"], [row])
    if state.dtype == "float16":
        yield helper.make_node("Cast", [row], [f"{row}:wide"], to=TensorProto.FLOAT)
        row = f"{row}:wide"
    if state.dtype == "float64":
        yield helper.make_node("MatMul", [row, f"{p}:zeros"], [f"{p}:sum:wide"])
        yield helper.make_node("Cast", [f"{p}:sum:wide"], [f"{p}:sum"], to=TensorProto.FLOAT)
    else:
        yield helper.make_node("MatMul", [row, f"{p}:zeros"], [f"{p}:sum"])
