"""An `.onnx` file that somebody else made, rewritten to the signature that everything behind the loader knows.

Inputs [tokens, ...], `lengths` int64 [rows], states [rows, ...]; outputs [tokens, ...] or [rows, ...]; see
`headrace.spec`. What the `model.toml` beside the file says becomes nodes around the graph; the file is never changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, version_converter

from headrace.contract import ELEMENTS, check
from headrace.errors import ConfigurationError
from headrace.foreign import BATCH, TIME, Constant, Foreign, ForeignInput, ForeignOutput, Lengths
from headrace.spec import LENGTHS, ModelSpec, Signature

from .foreign_fit import Graph
from .foreign_names import THEIRS, after, before, context, prefixed
from .foreign_nodes import Equal, Layout, Nodes, Padded
from .foreign_spec import spec_of

END = np.iinfo(np.int64).max
"""Behind the last step, however many there are."""

OLDEST = 13
"""The first opset with the operators that we add; graphs of older ones are converted."""


def canonical(model: onnx.ModelProto, foreign: Foreign, name: str) -> tuple[onnx.ModelProto, ModelSpec]:
    """The rewritten graph and its spec; `name` is the model's where `foreign` has none.

    Raises ConfigurationError naming everything in which the two do not fit each other.
    """
    graph = Graph.of(model.graph)
    spec = spec_of(graph, foreign, name)
    theirs, nodes = prefixed(_converted(model)), Nodes()
    Rewriting(graph, foreign, nodes, _layout(nodes, foreign, spec)).write(theirs.graph)
    wrapped = helper.make_graph(
        nodes.nodes,
        spec.name,
        [_info(tensor) for tensor in spec.graph_inputs],
        [_info(tensor) for tensor in spec.graph_outputs],
        [*theirs.graph.initializer, *nodes.constants],
        sparse_initializer=theirs.graph.sparse_initializer,
    )
    rewritten = helper.make_model(
        wrapped, opset_imports=theirs.opset_import, functions=theirs.functions, ir_version=max(8, theirs.ir_version)
    )
    check(rewritten, spec)
    return rewritten, spec


@dataclass(frozen=True, slots=True)
class Rewriting:
    """One pass: what leads into the foreign graph, the graph itself, what leads out of it."""

    graph: Graph
    foreign: Foreign
    nodes: Nodes
    layout: Layout

    def write(self, theirs: onnx.GraphProto) -> None:
        for given in self.foreign.inputs:
            self._input(given)
        for state in self.foreign.states:
            self._copy(self.nodes.arrange(before(state.name), state.axes), THEIRS + state.input)
        for constant in self.foreign.constants:
            self._constant(constant)
        if self.foreign.lengths is not None:
            self._lengths(self.foreign.lengths)
        self.nodes.nodes.extend(theirs.node)
        for output in self.foreign.outputs:
            self._output(output)
        for state in self.foreign.states:
            self._copy(self.nodes.restore(THEIRS + state.output, state.axes), after(state.name))

    def _input(self, given: ForeignInput) -> None:
        """[tokens, *shape] → what the foreign graph takes. Without time axis, a row is one token."""
        x = given.name
        if TIME in given.axes:
            x = self.layout.unpack(x, given.shape, self._dtype(given.source))
        if given.context:
            x = self._with_context(x, given)
        self._copy(self.nodes.arrange(x, given.axes), THEIRS + given.source)

    def _with_context(self, x: str, given: ForeignInput) -> str:
        """[rows, time, ...] → [rows, context + time, ...], whose end is the next chunk's context."""
        nodes, state = self.nodes, context(given.name)
        joined = nodes.add("Concat", before(state), x, axis=1)
        first, last, axis = nodes.constant((-given.context,)), nodes.constant((END,)), nodes.constant((1,))
        nodes.add("Slice", joined, first, last, axis, result=after(state))
        return joined

    def _constant(self, constant: Constant) -> None:
        axes = self.graph.inputs[constant.tensor].axes
        shape = None if axes is None else tuple(axis for axis in axes if isinstance(axis, int))
        self.nodes.constant(constant.value, self._dtype(constant.tensor), shape, name=THEIRS + constant.tensor)

    def _lengths(self, lengths: Lengths) -> None:
        element = self.graph.inputs[lengths.tensor].element
        x = self.nodes.add("Cast", LENGTHS, to=element)
        shape = (-1 if axis == BATCH else 1 for axis in lengths.axes)
        self._copy(self.nodes.reshape(x, *shape), THEIRS + lengths.tensor)

    def _output(self, output: ForeignOutput) -> None:
        y = self.nodes.restore(THEIRS + output.source, output.axes)
        if TIME in output.axes:
            y = self.layout.pack(y, output.shape)
        self._copy(y, output.name)

    def _copy(self, x: str, to: str) -> None:
        """Gives a tensor the name that is wanted; the runtime removes such nodes."""
        self.nodes.add("Identity", x, result=to)

    def _dtype(self, tensor: str) -> str:
        return str(self.graph.inputs[tensor].dtype)


def _layout(nodes: Nodes, foreign: Foreign, spec: ModelSpec) -> Layout:
    """Rows of one batch differ in length only where the model is told their lengths, or an end is padded."""
    equal = foreign.lengths is None or spec.chunk.exactly is not None or spec.chunk.rows == 1
    if equal and not spec.chunk.padded_end:
        return Equal(nodes, spec.chunk.exactly)
    return Padded.of(nodes, spec.chunk.exactly)


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """In an opset that has the operators we add. Raises ConfigurationError if its own is too old to be converted."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), OLDEST)
    if opset >= OLDEST:
        return model
    try:
        return version_converter.convert_version(model, OLDEST)
    except Exception as error:  # the converter raises what it likes
        raise ConfigurationError(f"its opset {opset} cannot be converted to {OLDEST}: {error}") from error


def _info(tensor: Signature) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, ELEMENTS[tensor.dtype], [tensor.axis, *tensor.shape])
