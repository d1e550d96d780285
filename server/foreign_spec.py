"""The spec that follows from a graph and the `model.toml` beside it."""

from __future__ import annotations

from pydantic import ValidationError

from headrace.contract import Declared
from headrace.errors import ConfigurationError
from headrace.foreign import TIME, Foreign, ForeignInput, ForeignOutput, ForeignState
from headrace.spec import Chunk, Dtype, Input, ModelSpec, Output, State

from .foreign_fit import Graph, problems, rows_of
from .foreign_names import after, before, context


def spec_of(graph: Graph, foreign: Foreign, name: str) -> ModelSpec:
    """The spec of the rewritten graph; `name` is what clients call the model.

    Raises ConfigurationError naming everything in which the `model.toml` does not fit the graph.
    """
    if wrong := list(problems(graph, foreign)):
        raise ConfigurationError("; ".join(wrong))
    try:
        states = [_state(s, graph) for s in foreign.states] + [_context(i, graph) for i in foreign.inputs if i.context]
        return ModelSpec(
            name=foreign.name or name,
            task=foreign.task,
            inputs=tuple(_input(i, graph) for i in foreign.inputs),
            outputs=tuple(_output(o, graph) for o in foreign.outputs),
            states=tuple(states),
            chunk=_chunk(graph, foreign, stateful=bool(states)),
        )
    except ValidationError as error:
        raise ConfigurationError("; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())) from error


def _input(given: ForeignInput, graph: Graph) -> Input:
    dtype = _dtype(graph.inputs, given.source)
    return Input(name=given.name, dtype=dtype, shape=given.shape, vocabulary=given.vocabulary)


def _output(given: ForeignOutput, graph: Graph) -> Output:
    dtype, time = _dtype(graph.outputs, given.source), TIME in given.axes
    return Output(name=given.name, dtype=dtype, shape=given.shape, time=time, labels=given.labels)


def _state(state: ForeignState, graph: Graph) -> State:
    return State(
        name=state.name,
        input=before(state.name),
        output=after(state.name),
        dtype=_dtype(graph.inputs, state.input),
        shape=state.shape,
        initial=state.initial,
    )


def _context(given: ForeignInput, graph: Graph) -> State:
    """The end of the chunk before, [rows, context, *shape], zeros at first."""
    name = context(given.name)
    return State(
        name=name,
        input=before(name),
        output=after(name),
        dtype=_dtype(graph.inputs, given.source),
        shape=(given.context, *given.shape),
    )


def _chunk(graph: Graph, foreign: Foreign, *, stateful: bool) -> Chunk:
    given, rows = foreign.chunk, rows_of(graph, foreign)
    return Chunk(
        longest=given.most,
        whole=not stateful,
        exactly=given.exactly,
        padded_end=given.padded_end,
        equal_lengths=foreign.lengths is None and given.exactly is None and rows != 1,
        rows=rows,
    )


def _dtype(tensors: dict[str, Declared], name: str) -> Dtype:
    dtype = tensors[name].dtype
    assert dtype is not None, "`problems` names a dtype that is not served"
    return dtype
