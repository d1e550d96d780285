"""Anybody's module: an `nn.Module` with stock recurrent or attention layers inside becomes a version of a model.

unwrap → probe → trace → verify → publish; the module's own code is neither changed nor asked for anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from headrace.errors import ConfigurationError
from headrace.spec import ModelSpec
from headrace.training.models import SequenceModel
from headrace.training.ragged import State

from ..controls import strained
from ..lighter import Lighten
from ..parity import FULL, LIGHT, Report, agree, verify
from ..publish import VERSION, publish
from ..report import pages
from ..runners import bare, versions
from ..streams import Draw, Grid
from ..trace import refuse_opset
from ..translate import OPSET
from . import watch
from .example import Call, Example, read
from .lines import told
from .noise import refuse_leaks
from .plan import Leaf, Plan, Wishes, plan
from .reach import refuse_longest
from .suspects import Suspect
from .trace import Traced, to_onnx
from .unwrap import evaluated, parts_unwrapped, unwrapped
from .values import drawing


def export_module(
    module: nn.Module,
    example: Example,
    models: Path,
    name: str,
    *,
    version: str | None = None,
    task: str = "",
    longest: int = 512,
    whole: bool = False,
    vocabulary: Mapping[str, int] | None = None,
    time_first: bool = False,
    trust: bool = False,
    quick: bool = False,
    lighten: Lighten | None = None,
    opset: int = OPSET,
    console: Console | None = None,
) -> Path:
    """Any module and an example of its input → the path of `models/<name>/<version>/model.onnx`.

    example:    a tensor, a tuple of tensors or a dictionary by the names of `forward`'s parameters; each
                [rows, time, ...] of float32 or int64. Values are drawn like its own; a feature
                that is constant there is drawn as N(0, 1).
    longest:    time steps that one step may carry
    whole:      take whole sequences only, without a state; always so with attention or a layer of both directions
    vocabulary: of integer inputs, by name: their number, where no nn.Embedding takes them as they are
    time_first: the module's tensors, the example's too, are [time, rows, ...]
    trust:      stream it even where values of several time steps meet outside its layers, if no case shows a difference
    quick:      a small parity grid, and none with enlarged weights
    lighten:    makes the graph smaller, once it is verified

    A parameter `lengths` of `forward`, if there is one, is given the rows' lengths, int64 [rows].
    Raises ConfigurationError, and publishes nothing, for what cannot be exported: with the layer, the reason and the
    line, or where the graph differs from the module.
    """
    if not VERSION.fullmatch(name):
        raise ConfigurationError(f"{name!r} cannot be a model's name: use letters, digits, '.', '_' and '-'")
    if longest < 1:
        raise ConfigurationError(f"longest is {longest}; a step carries one time step at least")
    refuse_opset(opset)
    console, module = console or Console(), unwrapped(module)
    wishes = Wishes(name, task, longest, whole, vocabulary)
    with evaluated(module), parts_unwrapped(module):
        call, tensors = read(module, example, time_first)
        found = plan(module, call, tensors, wishes)
        traced = to_onnx(module, found, opset)
        draw = drawing(tensors, found.spec.inputs)
        report = _verified(module, found, traced, replace(LIGHT if quick else FULL, draw=draw), console)
        if not trust:
            _refuse_meetings(found.spec, traced.suspects)
        if not quick:
            _strained(module, call, tensors, wishes, draw, opset, console)
    graph, small, coarse = traced.graph, None, None
    spec = found.spec.model_copy(update={"parity": report.parity, "versions": versions()})
    if lighten is not None:
        small = lighten(graph, spec)
        with evaluated(module), parts_unwrapped(module):
            coarse = small.verified(Alone(module, found).eval(), spec, draw=draw, console=console)
        graph, spec = small.graph, small.spec(spec, coarse.parity)
    path = publish(graph, spec, models, version, pages(graph, spec, report, small, coarse, traced.padded))
    console.print(f"{path}: {spec.summary()}", markup=False)
    for line in traced.padded:
        console.print(f"  {line}", markup=False)
    for suspect in traced.suspects:
        console.print(f"  {suspect}: not seen to matter in {report.parity.cases} cases", markup=False)
    return path


class Alone(SequenceModel):
    """The truth: the untouched module with its stock kernels, on each sequence from its beginning and by itself."""

    def __init__(self, module: nn.Module, plan: Plan) -> None:
        super().__init__()
        self.module, self.plan = module, plan

    def step(self, x: Any, lengths: Tensor, state: State) -> tuple[Any, State]:
        """x [tokens, ...], whole sequences → as the spec says. `state` is that of fresh sequences: the module's own."""
        inputs, sizes = x if isinstance(x, tuple) else (x,), lengths.tolist()
        rows = [self._row(row) for row in zip(*(part.split(sizes) for part in inputs), strict=True)]
        outputs = zip(*(y for y, _ in rows), strict=True)
        ends = {s.name: torch.cat([end[s.name] for _, end in rows]) for s in self.plan.spec.states}
        return bare(tuple(torch.cat(parts) for parts in outputs)), ends

    def describe(self, name: str) -> ModelSpec:
        return self.plan.spec.model_copy(update={"name": name})

    def _row(self, inputs: tuple[Tensor, ...]) -> tuple[list[Tensor], dict[str, Tensor]]:
        """inputs [time, ...] → each output [time, ...] or [1, ...], and the states at the end, [1, ...]."""
        with watch.watched(self.module) as seen, told(self.module, self.plan.spec.name, "run"):
            results = self.plan.call(self.module, [x[None] for x in inputs], torch.tensor([len(inputs[0])]))
        outputs = [(leaf, leaf.rows_first(results[leaf.index][1])) for leaf in self.plan.leaves]
        layers = watch.recurrent(self.module)
        ends = {
            name: end.contiguous()
            for path, runs in seen.runs.items()
            for name, end in zip(watch.state_names(path, layers[path]), watch.ends(layers[path], runs[-1]), strict=True)
        }
        _refuse_shapes(outputs, len(inputs[0]))
        return [y if leaf.time is None else y[0] for leaf, y in outputs], ends


def _refuse_shapes(outputs: list[tuple[Leaf, Tensor]], time: int) -> None:
    """A lone row or time step shows what `squeeze()` without an axis does."""
    for leaf, y in outputs:
        right = (1, *(() if leaf.time is None else (time,)), *leaf.output.shape)
        if y.shape != right:
            raise ConfigurationError(
                f"output {leaf.output.name} of one row of {time} time steps is {list(y.shape)}, not {list(right)}; "
                "name the axes that are squeezed"
            )


def _verified(module: nn.Module, found: Plan, traced: Traced, grid: Grid, console: Console) -> Report:
    model = Alone(module, found).eval()
    with _suspected(traced.suspects, found.spec.chunk.whole):
        report = verify(model, traced.graph, found.spec, grid=grid, console=console)
        refuse_leaks(model, traced.graph, found.spec, grid.draw)
        refuse_longest(model, traced.graph, found.spec, grid.draw)
    return report


def _strained(
    module: nn.Module,
    call: Call,
    tensors: tuple[Tensor, ...],
    wishes: Wishes,
    draw: Draw,
    opset: int,
    console: Console,
) -> None:
    """All of it once more with enlarged weights, at which mistakes cannot hide."""
    with strained(module):
        found = plan(module, call, tensors, wishes)
        traced = to_onnx(module, found, opset)
        with _suspected(traced.suspects, found.spec.chunk.whole):
            agree(Alone(module, found).eval(), traced.graph, found.spec, draw=draw, console=console)


@contextmanager
def _suspected(suspects: tuple[Suspect, ...], whole: bool) -> Iterator[None]:
    """Where the graph differs from the module, what looks across time is the likely cause."""
    try:
        yield
    except ConfigurationError as error:
        if not suspects:
            raise
        otherwise = "" if whole else ", or, if it needs all of a sequence, export with whole=True"
        raise ConfigurationError(
            f"{error}; what looks across time is likely the cause: {', '.join(map(str, suspects))}. Mask it by a "
            f"parameter `lengths`{otherwise}"
        ) from error


def _refuse_meetings(spec: ModelSpec, suspects: tuple[Suspect, ...]) -> None:
    """A step of a stream has only a part of the sequence; that no case showed it proves little."""
    meeting = [suspect for suspect in suspects if suspect.meets]
    if spec.stateful and meeting:
        raise ConfigurationError(
            f"{spec.name} is a stream, in whose steps only a part of the sequence is there for "
            f"{', '.join(map(str, meeting))}; export with whole=True, or, if you know that it cannot matter, trust=True"
        )
