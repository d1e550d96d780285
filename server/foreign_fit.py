"""Whether a `model.toml` fits the graph beside it: every misfit is named at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import onnx

from headrace.contract import Declared, declared
from headrace.dtypes import holds
from headrace.foreign import BATCH, TIME, Axes, Constant, Foreign, ForeignInput
from headrace.spec import LENGTHS

from .foreign_names import after, before, context


@dataclass(frozen=True, slots=True)
class Place:
    """One mention of an input of the graph: what mentions it, and the axes that it says; None for a constant."""

    what: str
    tensor: str
    axes: Axes | None


@dataclass(frozen=True, slots=True)
class Graph:
    """What the graph declares: name → tensor. Initializers that old files also list as inputs are none."""

    inputs: dict[str, Declared]
    outputs: dict[str, Declared]

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> Graph:
        weights = {tensor.name for tensor in graph.initializer}
        return cls(declared(i for i in graph.input if i.name not in weights), declared(graph.output))


def rows_of(graph: Graph, foreign: Foreign) -> int | None:
    """Rows that a call may have; None for any number. One where there is no batch axis, or it is fixed at 1."""
    single = any(
        BATCH not in place.axes or _fixed(place, graph, BATCH) == 1
        for place in _places(foreign)
        if place.axes is not None
    )
    return 1 if single else foreign.chunk.rows


def problems(graph: Graph, foreign: Foreign) -> Iterator[str]:
    """Everything in which the two do not fit each other, each as one sentence."""
    places = list(_places(foreign))
    mentions = Counter(place.tensor for place in places)
    yield from (f"the graph's input {name} is named {n} times" for name, n in mentions.items() if n > 1)
    for name in (name for name in graph.inputs if name not in mentions):
        yield f"the graph's input {name} ({graph.inputs[name]}) is in none of inputs, states, constants and lengths"
    for place in places:
        yield from _place_problems(place, graph)
    for what, tensor in _results(foreign):
        yield from _result_problems(what, tensor, graph)
    yield from _axes_problems(foreign)
    for given in foreign.inputs:
        yield from _time_problems(given, graph, foreign)
        yield from _vocabulary_problems(given, graph)
    for constant in foreign.constants:
        yield from _constant_problems(constant, graph)
    yield from _name_problems(foreign)
    yield from _state_problems(graph, foreign)


def _places(foreign: Foreign) -> Iterator[Place]:
    yield from (Place(f"input {i.name}", i.source, i.axes) for i in foreign.inputs)
    yield from (Place(f"state {s.name}", s.input, s.axes) for s in foreign.states)
    yield from (Place(f"constant {c.tensor}", c.tensor, None) for c in foreign.constants)
    if foreign.lengths is not None:
        yield Place("lengths", foreign.lengths.tensor, foreign.lengths.axes)


def _results(foreign: Foreign) -> Iterator[tuple[str, str]]:
    yield from ((f"output {o.name}", o.source) for o in foreign.outputs)
    yield from ((f"state {s.name}", s.output) for s in foreign.states)


def _place_problems(place: Place, graph: Graph) -> Iterator[str]:
    found = graph.inputs.get(place.tensor)
    if found is None:
        yield f"{place.what}: the graph has no input {place.tensor}, it has {', '.join(graph.inputs)}"
    elif found.dtype is None:
        yield f"{place.what}: {place.tensor} is {found}, a dtype that is not served"
    elif place.axes is not None and found.axes is not None:
        yield from _shape_problems(place, place.axes, found)


def _shape_problems(place: Place, axes: Axes, found: Declared) -> Iterator[str]:
    there = found.axes or ()
    sizes = ((ours, theirs) for ours, theirs in zip(axes, there, strict=False) if isinstance(ours, int))
    if len(axes) != len(there) or any(isinstance(theirs, int) and ours != theirs for ours, theirs in sizes):
        yield f"{place.what}: axes {_written(axes)} do not fit {place.tensor}, which is {found}"
    elif _at(axes, there, BATCH) not in (None, 1):
        yield f"{place.what}: the graph fixes its batch axis at {_at(axes, there, BATCH)}; only 1 can be served"


def _result_problems(what: str, tensor: str, graph: Graph) -> Iterator[str]:
    """Shapes that a graph declares of its outputs are not looked at: they lie too often, and nobody needs them."""
    found = graph.outputs.get(tensor)
    if found is None:
        yield f"{what}: the graph has no output {tensor}, it has {', '.join(graph.outputs)}"
    elif found.dtype is None:
        yield f"{what}: {tensor} is {found}, a dtype that is not served"


def _axes_problems(foreign: Foreign) -> Iterator[str]:
    """One tensor without batch axis among others that have one is more likely an oversight than a model of one row."""
    tensors = [(p.what, p.axes) for p in _places(foreign) if p.axes is not None]
    tensors += [(f"output {o.name}", o.axes) for o in foreign.outputs]
    without = [what for what, axes in tensors if BATCH not in axes]
    if without and len(without) < len(tensors) and foreign.chunk.rows != 1:
        yield f"{', '.join(without)}: no batch axis, while others have one; if a call takes one row, say chunk.rows = 1"
    if without and (foreign.chunk.rows or 1) != 1:
        yield f"chunk.rows is {foreign.chunk.rows}, but {without[0]} has no batch axis: a call takes one row"


def _time_problems(given: ForeignInput, graph: Graph, foreign: Foreign) -> Iterator[str]:
    exactly = foreign.chunk.exactly
    if TIME not in given.axes and (given.context or exactly != 1):
        yield f"input {given.name}: axes need a time axis, unless chunk.exactly is 1 and it has no context"
    if given.context and foreign.lengths is not None:
        yield f"input {given.name}: context and lengths do not go together"
    fixed, total = _fixed(Place("", given.source, given.axes), graph, TIME), (exactly or 0) + given.context
    if fixed is not None and fixed != total:
        yield (
            f"input {given.name}: the graph fixes its time axis at {fixed}; chunk.exactly and its context must add up "
            f"to that, not to {total}"
        )


def _vocabulary_problems(given: ForeignInput, graph: Graph) -> Iterator[str]:
    found = graph.inputs.get(given.source)
    if given.vocabulary is None or found is None or found.dtype is None:
        return
    if found.dtype not in ("int64", "int32") or not holds(found.dtype, given.vocabulary - 1):
        yield f"input {given.name}: {given.source} is {found}, which holds no token ids up to {given.vocabulary - 1}"


def _name_problems(foreign: Foreign) -> Iterator[str]:
    ins, outs = {i.name for i in foreign.inputs}, {o.name for o in foreign.outputs}
    if both := sorted(ins & outs):
        yield f"{', '.join(both)}: an input and an output need different names; `tensor` says what the graph calls it"
    if LENGTHS in ins | outs:
        yield f"{LENGTHS}: the name is taken; say another, and `tensor` for what the graph calls it"
    states = [s.name for s in foreign.states] + [context(i.name) for i in foreign.inputs if i.context]
    if both := sorted((ins | outs) & {name for state in states for name in (before(state), after(state))}):
        yield f"{', '.join(both)}: the name is that of a state before or after a step; say another, and `tensor`"
    for output in foreign.outputs:
        if output.labels and output.shape[-1:] != (len(output.labels),):
            yield f"output {output.name}: {len(output.labels)} labels do not fit axes {_written(output.axes)}"


def _constant_problems(constant: Constant, graph: Graph) -> Iterator[str]:
    found = graph.inputs.get(constant.tensor)
    if found is None or found.dtype is None:
        return
    cells = constant.value if isinstance(constant.value, tuple) else (constant.value,)
    if wrong := [cell for cell in cells if not holds(found.dtype, cell)]:
        yield f"constant {constant.tensor}: {found.dtype} does not hold {wrong[0]}"
    if found.axes is None:
        return
    sizes = [axis for axis in found.axes if isinstance(axis, int)]
    if len(sizes) < len(found.axes):
        yield f"constant {constant.tensor}: it is {found}; only one of fixed shape can be a constant"
    elif isinstance(constant.value, tuple) and len(constant.value) != prod(sizes):
        yield f"constant {constant.tensor}: {len(constant.value)} cells do not fit {found}"


def _state_problems(graph: Graph, foreign: Foreign) -> Iterator[str]:
    for state in foreign.states:
        old, new = graph.inputs.get(state.input), graph.outputs.get(state.output)
        if old and new and old.element != new.element:
            yield f"state {state.name}: {state.input} is {old}, but {state.output} is {new}"
    for output, n in Counter(state.output for state in foreign.states).items():
        if n > 1:
            yield f"the graph's output {output} is the next value of {n} states; each has one of its own"


def _fixed(place: Place, graph: Graph, axis: str) -> int | None:
    """The size at which the graph fixes the batch or time axis of an input; None if it does not."""
    found = graph.inputs.get(place.tensor)
    return _at(place.axes or (), found.axes or (), axis) if found else None


def _at(axes: Axes, there: tuple[int | str, ...], axis: str) -> int | None:
    if axis not in axes or len(axes) != len(there):
        return None
    size = there[axes.index(axis)]
    return size if isinstance(size, int) else None


def _written(axes: Axes) -> str:
    return f"[{', '.join(map(str, axes))}]"
