"""The exported graph against eager PyTorch, before anything is published.

The truth is the untouched model with its stock kernels, each sequence whole and alone. The graph must give the same
however the sequences are cut and whoever shares the batch; and controls, runs that are wrong on purpose, must not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from headrace.errors import ConfigurationError
from headrace.spec import Input, ModelSpec, Parity
from headrace.training.models import SequenceModel
from headrace.training.threads import torch_threads

from .controls import forgetful, gated, misordered, misplaced, ragged, strained
from .kept import plainly
from .runners import eager, runtime
from .streams import Batch, Cut, Draw, Grid, Named, Runner, alone, bounded, chunks, drive, single, whole
from .trace import to_onnx

TOLERANCE = 1e-4
"""Largest relative error of a float32 graph that may be published."""

APART = 10 * TOLERANCE
"""A control has to differ by more; a graph with enlarged weights, whose errors grow step by step, by less."""

FLOOR = 1e-3
"""An output that is smaller throughout is compared to this: relative to nothing, rounding would count as an error."""

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


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest relative error of a run over a batch of `rows` sequences cut as `cut` says, and where it is."""

    error: float
    where: str
    rows: int
    cut: str


def verify(
    model: SequenceModel, graph: onnx.ModelProto, spec: ModelSpec, *, console: Console, grid: Grid = FULL, seed: int = 0
) -> Report:
    """Compares `graph` with `model`, in evaluation mode, over all of `grid`: whole, in chunks and step by step.

    Raises ConfigurationError naming batch, cut, output, row and step of the largest error, if there is one above
    TOLERANCE, or the control that cannot be told from the right graph.
    """
    graph, spec = plainly(graph, spec)
    rng, truth = np.random.default_rng(seed), eager(model, spec)
    found = _compared(truth, runtime(graph), spec, grid, rng, console)
    worst = _accepted(spec.name, found, TOLERANCE)
    return Report(
        Parity(error=worst, cases=len(found)), dict(_controls(truth, graph, spec, rng, grid.draw)), tuple(found)
    )


def strain(model: SequenceModel, spec: ModelSpec, *, console: Console, seed: int = 0) -> float:
    """The same for a graph traced with enlarged weights, over a small grid: the largest relative error.

    Raises ConfigurationError if it is above APART. The model is left as it was.
    """
    with strained(model):
        return agree(model, to_onnx(model, spec), spec, console=console, seed=seed)


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
    found = _compared(eager(model, spec), runtime(graph), spec, grid, rng, console)
    return _accepted(f"{spec.name} with enlarged weights", found, APART)


def difference(got: Named, want: Named, spec: ModelSpec, batch: Batch, what: str) -> Difference:
    """The largest error of all outputs and states, each relative to the largest magnitude of what is wanted there."""
    timed = {output.name for output in spec.outputs if output.time}
    worst = Difference(0.0, "", len(batch.lengths), what)
    for name, right in want.items():
        error, index = _relative(got[name], right)
        if error > worst.error:
            row, step = batch.row(index) if name in timed else (index, None)
            place = f"row {row}" if step is None else f"row {row}, time step {step}"
            where = f"{name} at {place} of lengths {batch.lengths.tolist()}, {what}"
            worst = replace(worst, error=error, where=where)
    return worst


def _compared(
    truth: Runner, run: Runner, spec: ModelSpec, grid: Grid, rng: np.random.Generator, console: Console
) -> list[Difference]:
    """One for each batch and cut."""
    found, batches = [], list(grid.batches(spec, rng))
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with torch_threads(1), bar:
        for batch in bar.track(batches, description=f"verifying {spec.name}"):
            want = drive(truth, spec, batch, alone)
            for what, cut in _cuts(spec, rng).items():
                found.append(difference(drive(run, spec, batch, cut), want, spec, batch, what))
    return found


def _cuts(spec: ModelSpec, rng: np.random.Generator) -> dict[str, Cut]:
    if spec.chunk.whole:
        return {"whole": whole}
    longest = spec.chunk.longest
    return {"whole": bounded(whole, longest), "step by step": single, "in chunks": bounded(chunks(rng), longest)}


def _controls(
    truth: Runner, graph: onnx.ModelProto, spec: ModelSpec, rng: np.random.Generator, draw: Draw
) -> Iterator[tuple[str, float]]:
    """Raises ConfigurationError at a control that does not differ."""
    (batch,) = replace(CONTROLS, draw=draw).batches(spec, rng)
    want = drive(truth, spec, batch, alone)
    for name, run, cut in _wrong(graph, spec):
        error = difference(drive(run, spec, batch, cut), want, spec, batch, name).error
        if error < APART:
            raise ConfigurationError(
                f"{spec.name}: with {name} the graph differs by only {error:.1e}, so that parity proves nothing; "
                "is the model trained, and does it use what it is given?"
            )
        yield name, error


def _wrong(graph: onnx.ModelProto, spec: ModelSpec) -> Iterator[tuple[str, Runner, Cut]]:
    """The controls that a graph can have."""
    run, cut = runtime(graph), bounded(whole, spec.chunk.longest)
    if spec.states:
        yield "state forgotten", forgetful(run, spec), single
    if ragged(graph) and spec.chunk.longest > 1 and (spec.stateful or spec.chunk.whole):
        yield "lengths misplaced", misplaced(run), cut
    if gated(graph):
        yield "gates misordered", runtime(misordered(graph)), cut


def _accepted(name: str, found: list[Difference], limit: float) -> float:
    worst = max(found, key=lambda difference: difference.error)
    if worst.error > limit:
        raise ConfigurationError(
            f"{name}: ONNX Runtime and PyTorch differ by {worst.error:.1e} (at most {limit:.0e} is allowed) "
            f"in {worst.where}; nothing was published"
        )
    return worst.error


def _relative(got: NDArray[np.generic], want: NDArray[np.generic]) -> tuple[float, int]:
    """The largest relative error of [n, ...], and at which n. What is not finite, on either side, is wholly wrong."""
    if got.shape != want.shape:
        return float("inf"), 0
    right = want.astype(np.float64)
    with np.errstate(invalid="ignore"):
        distance = np.abs(got.astype(np.float64) - right).reshape(len(want), -1).max(1)  # [n]
    if not np.isfinite(distance).all():
        return float("inf"), int(np.isfinite(distance).argmin())
    return float(distance.max() / max(np.abs(right).max(), FLOOR)), int(distance.argmax())
