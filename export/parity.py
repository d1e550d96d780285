"""The exported graph against eager PyTorch, before anything is published.

The truth is the untouched model with its stock kernels, each sequence whole and alone. The graph must give the same
however the sequences are cut and whoever shares the batch; and controls, runs that are wrong on purpose, must not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from rich.console import Console
from rich.progress import Progress

from headrace.errors import ConfigurationError
from headrace.spec import LENGTHS, Input, ModelSpec, Parity
from headrace.training.models import SequenceModel
from headrace.training.threads import torch_threads

from .compare import Difference, Typical, difference, reference
from .controls import forgetful, gated, misordered, misplaced, ragged, reached, strained
from .kept import plainly
from .precision import LIMITS
from .runners import eager, runtime
from .streams import Batch, Cut, Draw, Grid, Named, Runner, alone, bounded, chunks, drive, single, whole
from .trace import to_onnx
from .translate import OPSET

TOLERANCE = LIMITS["fp32"]
"""Largest relative error of a float32 graph that may be published."""

APART = 10 * TOLERANCE
"""A control has to differ by more; a graph with enlarged weights, whose errors grow step by step, by less."""

FULL = Grid()
LIGHT = Grid(sizes=(1, 5), longest=6)
STRAINED = Grid(sizes=(7,), longest=4)
CONTROLS = Grid(sizes=(7,), longest=7)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: how far at most the graph is from the model, and how far each control is. Relative errors.

    cases: one for each batch of the grid and each cut
    """

    parity: Parity
    controls: Mapping[str, float]
    cases: tuple[Difference, ...]


def verify(
    model: SequenceModel,
    graph: onnx.ModelProto,
    spec: ModelSpec,
    *,
    console: Console,
    grid: Grid = FULL,
    limit: float = TOLERANCE,
    seed: int = 0,
) -> Report:
    """Compares `graph` with `model`, in evaluation mode, over all of `grid`: whole, in chunks and step by step.

    Raises ConfigurationError naming batch, cut, output, row and step of the largest error, if there is one above
    `limit`, or the control that cannot be told from the right graph. A wider limit is for coarser numbers: there
    integers, which are chosen among such, are not compared.
    """
    graph, spec = plainly(graph, spec)
    rng = np.random.default_rng(seed)
    truth = _truth(model, spec, grid.draw, rng, exactly=limit <= TOLERANCE)
    found = _compared(truth, runtime(graph), grid, rng, console)
    worst = _accepted(spec.name, found, limit)
    controls = _controls(truth, graph, max(APART, worst), rng)
    return Report(Parity(error=worst, cases=len(found)), dict(controls), tuple(found))


def strain(model: SequenceModel, spec: ModelSpec, *, opset: int = OPSET, console: Console, seed: int = 0) -> float:
    """The same for a graph traced with enlarged weights, over a small grid: the largest relative error.

    Raises ConfigurationError if it is above APART. The model is left as it was.
    """
    with strained(model):
        return agree(model, to_onnx(model, spec, opset), spec, console=console, seed=seed)


def agree(
    model: SequenceModel,
    graph: onnx.ModelProto,
    spec: ModelSpec,
    *,
    console: Console,
    draw: Draw = Input.sample,
    seed: int = 0,
) -> float:
    """What `strain` does once the weights are enlarged and `graph` is traced with them."""
    graph, spec = plainly(graph, spec)
    grid, rng = replace(STRAINED, draw=draw), np.random.default_rng(seed)
    found = _compared(_truth(model, spec, draw, rng), runtime(graph), grid, rng, console)
    return _accepted(f"{spec.name} with enlarged weights", found, APART)


@dataclass(frozen=True, slots=True)
class _Truth:
    """The model, what it is asked, and what is typical of its answers. exactly: whether integers are compared too."""

    run: Runner
    spec: ModelSpec
    draw: Draw
    among: Typical
    exactly: bool

    def answers(self, batch: Batch) -> Named:
        results = drive(self.run, self.spec, batch, alone)
        return results if self.exactly else {name: y for name, y in results.items() if y.dtype.kind == "f"}


def _truth(
    model: SequenceModel, spec: ModelSpec, draw: Draw, rng: np.random.Generator, *, exactly: bool = True
) -> _Truth:
    run = eager(model, spec)
    return _Truth(run, spec, draw, reference(run, spec, draw, rng), exactly)


def _compared(truth: _Truth, run: Runner, grid: Grid, rng: np.random.Generator, console: Console) -> list[Difference]:
    """One for each batch and cut."""
    found, spec = [], truth.spec
    batches = list(grid.batches(spec, rng))
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with torch_threads(1), bar:
        for batch in bar.track(batches, description=f"verifying {spec.name}"):
            want = truth.answers(batch)
            for what, cut in _cuts(spec, rng).items():
                found.append(difference(drive(run, spec, batch, cut), want, spec, batch, what, truth.among))
    return found


def _cuts(spec: ModelSpec, rng: np.random.Generator) -> dict[str, Cut]:
    if spec.chunk.whole:
        return {"whole": whole}
    longest = spec.chunk.longest
    return {"whole": bounded(whole, longest), "step by step": single, "in chunks": bounded(chunks(rng), longest)}


def _controls(
    truth: _Truth, graph: onnx.ModelProto, apart: float, rng: np.random.Generator
) -> Iterator[tuple[str, float]]:
    """How far each is at most in one of the outputs. Raises ConfigurationError at one that is not `apart`."""
    spec = truth.spec
    (batch,) = replace(CONTROLS, draw=truth.draw).batches(spec, rng)
    want = truth.answers(batch)
    for wrong in _wrong(graph, spec):
        told = _told(wrong.of, graph, spec, want)
        error = difference(drive(wrong.run, spec, batch, wrong.cut), told, spec, batch, wrong.name, truth.among).error
        if error < apart:
            raise ConfigurationError(
                f"{spec.name}: with {wrong.name} the graph's outputs differ by only {error:.1e}, so that parity proves "
                "nothing; is the model trained, and does it use what it is given?"
            )
        yield wrong.name, error


def _told(of: set[str], graph: onnx.ModelProto, spec: ModelSpec, want: Named) -> Named:
    """The outputs made of the tensors `of`; where there are none, what is wrong shows in the states alone."""
    made = reached(graph, of)
    return {o.name: want[o.name] for o in spec.outputs if o.name in made and o.name in want} or want


@dataclass(frozen=True, slots=True)
class _Wrong:
    """A control. of: the tensors of the graph that it gets wrong"""

    name: str
    run: Runner
    cut: Cut
    of: set[str]


def _wrong(graph: onnx.ModelProto, spec: ModelSpec) -> Iterator[_Wrong]:
    """The controls that a graph can have."""
    run, cut = runtime(graph), bounded(whole, spec.chunk.longest)
    if spec.states:
        yield _Wrong("state forgotten", forgetful(run, spec), single, {s.input for s in spec.states})
    if ragged(graph) and spec.chunk.longest > 1 and (spec.stateful or spec.chunk.whole):
        yield _Wrong("lengths misplaced", misplaced(run), cut, {LENGTHS})
    if gates := gated(graph):
        made = {name for node in gates for name in node.output}
        yield _Wrong("gates misordered", runtime(misordered(graph)), cut, made)


def _accepted(name: str, found: list[Difference], limit: float) -> float:
    worst = max(found, key=lambda difference: difference.error)
    if worst.error > limit:
        raise ConfigurationError(
            f"{name}: ONNX Runtime and PyTorch differ by {worst.error:.1e} (at most {limit:.0e} is allowed) "
            f"in {worst.where}; nothing was published"
        )
    return worst.error
