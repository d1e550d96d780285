"""From a user's module to an ONNX graph of packed rows: padded inside, around the module as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from headrace.contract import check
from headrace.errors import ConfigurationError
from headrace.spec import LENGTHS, ROWS, TOKENS

from .. import padded_ops as ops
from ..overrides import inverses
from ..trace import DTYPES, quiet, tidied, written
from ..translate import OPSET
from .guards import avoidable, guarded, violated
from .joins import joined
from .layers import ragged
from .lines import files, told, untranslated
from .packed import Reasons
from .plan import Plan
from .suspects import Suspect, rewrite, suspects, symbols
from .tape import Tape
from .unwrap import parts_unwrapped

EXAMPLE, SINGLE = (13, 11, 7, 4, 2), (1, 1, 1, 1, 1)
"""Lengths of the rows that are traced: no two axes of one size, which a tracer could take for the same."""

TIMES = "headrace.times"
"""An input of the traced graph alone: 0, 1, … up to the longest row, by which the time axis has a symbol."""


LEAST = (None, 3, max(EXAMPLE))
"""Time steps that a trace is made for at least, tried in this order."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A graph, what in it looks across time by itself, and of each attention layer that runs padded, why."""

    graph: onnx.ModelProto
    suspects: tuple[Suspect, ...]
    padded: tuple[str, ...] = ()


def to_onnx(module: nn.Module, plan: Plan, opset: int = OPSET) -> Traced:
    """The graph that `plan.spec` describes; the module is left as it was, in evaluation mode.

    Raises ConfigurationError with the user's line for what cannot be traced.
    """
    with torch.no_grad(), parts_unwrapped(module), quiet(), told(module, plan.spec.name, "traced"):
        graph = _Graph(module.eval(), plan).eval()
        program = _program(graph, plan, files(module))
        joined(program)
        found = _ragged(program, module, streamed=plan.spec.stateful)
        names = [i.name for i in plan.spec.graph_inputs]
        names.insert(names.index(LENGTHS) + 1, TIMES)
        exported = _written(program, plan, names, files(module), opset)
    _times_inside(exported.model.graph)
    proto = tidied(exported)
    check(proto, plan.spec)
    return Traced(proto, found, graph.reasons.lines())


class _Graph(nn.Module):
    """The module over packed rows, its layers' states going in and coming out."""

    def __init__(self, module: nn.Module, plan: Plan) -> None:
        super().__init__()
        self.module, self.plan = module, plan
        # Made here, where nothing is traced yet: the graph should hold them as constants.
        layers = ((path, part) for path, part in module.named_modules() if isinstance(part, nn.RNNBase))
        self.inverses = {path: inverses(part) for path, part in layers}
        self.reasons = Reasons.of(module)

    def forward(
        self, inputs: tuple[Tensor, ...], lengths: Tensor, times: Tensor, states: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, ...]:
        """inputs [tokens, ...], lengths [rows], times [time], states [rows, ...] → outputs and states."""
        names = [state.name for state in self.plan.spec.states]
        begin = dict(zip(names, states, strict=True))
        tape = Tape(lengths, times, begin, self.inverses, inputs[0], self.reasons)
        padded = tuple(self._padded(x, lengths, times) for x in inputs)
        with ragged(self.module, tape):
            results = self.plan.call(self.module, padded, lengths)
        outputs = (leaf.rows_first(results[leaf.index][1]) for leaf in self.plan.leaves)
        packed = [
            self._packed(y, lengths, inputs[0]) if leaf.time is not None else y.contiguous()
            for leaf, y in zip(self.plan.leaves, outputs, strict=True)
        ]
        return *packed, *(tape.ends[name].clone() for name in names)

    def _padded(self, x: Tensor, lengths: Tensor, times: Tensor) -> Tensor:
        padded: Tensor = ops.by_row(x, lengths)[:, None] if self.plan.single else ops.pad(x, lengths, times)
        return padded

    def _packed(self, y: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        if self.plan.single:
            one: Tensor = ops.by_token(y[:, 0], lengths, tokens)
            return one
        packed: Tensor = ops.unpad(y, lengths, tokens)
        return packed


def _program(graph: _Graph, plan: Plan, own: set[str]) -> ExportedProgram:
    """Traced for any number of rows and time steps, as far as the module allows it.

    Where it only must not be traced for few time steps, since torch takes one of them for an axis to be spread,
    more of them are assumed: parity is verified with few as well.
    """
    longest = plan.spec.chunk.longest
    for least in LEAST:
        with guarded(own) as guards:
            try:
                return torch.export.export(graph, _example(plan), dynamic_shapes=_axes(plan, least), strict=False)
            except torch._dynamo.exc.UserError as error:
                if least != LEAST[-1] and avoidable(error):
                    continue
                if (words := violated(error, guards, longest)) is None:
                    raise
                raise ConfigurationError(f"{plan.spec.name} cannot be traced: {words}") from error
    raise AssertionError


def _written(
    program: ExportedProgram, plan: Plan, inputs: list[str], own: set[str], opset: int
) -> torch.onnx.ONNXProgram:
    try:
        return written(program, _axes(plan), inputs, [o.name for o in plan.spec.graph_outputs], opset)
    except torch.onnx.OnnxExporterError as error:
        words = untranslated(error, program, own)
        raise ConfigurationError(f"{plan.spec.name} cannot be written as ONNX: {words}") from error


def _ragged(program: ExportedProgram, module: nn.Module, *, streamed: bool) -> tuple[Suspect, ...]:
    """Rewrites what is rewritten, and returns what is told."""
    lengths, times = (name for name in program.graph_signature.user_inputs if name in ("lengths", "times"))
    rows, time = symbols(program, lengths, times)
    rewrite(program, lengths, rows, time)
    return suspects(program, time, files(module), streamed=streamed)


def _example(plan: Plan) -> tuple[Any, ...]:
    sizes = SINGLE if plan.single else EXAMPLE
    packed = tuple(torch.zeros(sum(sizes), *i.shape, dtype=DTYPES[i.dtype]) for i in plan.spec.inputs)
    states = tuple(torch.zeros(len(sizes), *s.shape, dtype=DTYPES[s.dtype]) for s in plan.spec.states)
    return packed, torch.tensor(sizes), torch.arange(max(EXAMPLE)), *([states] if states else ())


def _axes(plan: Plan, least: int | None = None) -> tuple[Any, ...]:
    """Which axes are symbolic, in the structure of `_example`; of time at least, and as much as a step may carry."""
    tokens, rows = Dim(TOKENS), Dim(ROWS)
    time = Dim("time", min=least, max=max(plan.spec.chunk.longest, *EXAMPLE))
    packed, states = tuple({0: tokens} for _ in plan.spec.inputs), tuple({0: rows} for _ in plan.spec.states)
    return packed, {0: rows}, {0: time}, *([states] if states else ())


def _times_inside(graph: ir.Graph) -> None:
    """The input TIMES becomes what it is: a range up to the greatest length."""
    (lengths,) = (value for value in graph.inputs if value.name == LENGTHS)
    (times,) = (value for value in graph.inputs if value.name == TIMES)
    ends = [ir.node("Constant", [], {"value": ir.tensor(k)}) for k in (0, 1)]
    longest = ir.node("ReduceMax", [lengths], {"keepdims": 0})
    inside = ir.node("Range", [ends[0].outputs[0], longest.outputs[0], ends[1].outputs[0]])
    nodes = [*ends, longest, inside]
    if len(graph):
        graph.insert_before(graph[0], nodes)
    ir.convenience.replace_all_uses_with(times, inside.outputs[0])
    inside.outputs[0].shape, inside.outputs[0].type = times.shape, times.type
    graph.inputs.remove(times)
