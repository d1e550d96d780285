"""Runs of a stranger's model before it is served: what its `model.toml` says wrongly of it shows then.

Results of another shape fail. A batch axis taken for a time axis may not, nor a graph that does not heed the lengths it
is told: then rows get parts of each other's results, or of their padding. So rows of different lengths are run together
and each alone, and a second time from the states that the first step left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import onnx

from headrace.errors import ConfigurationError, ModelFailed
from headrace.spec import ModelSpec

from .batch import Batch
from .foreign_names import graphs
from .steps import Array, Rows
from .work import Engine

#: Rows of the batch: two may pass for the two of some other axis.
ROWS = 3

#: The most time steps of a row, where the spec leaves it open.
TIME = 256

#: The most values of a row, if a single time step does not have more.
CELLS = 1 << 20

#: Of the largest result in a column: what sums in another order make of it at most, and shortened products on a GPU.
TOLERANCE = 0.02

#: The same of models in eight bits, which may scale a row by its neighbours, or in half precision.
COARSE = 0.1

#: What is left of results that cancel each other, where all are of the order of one or larger.
NOISE = 1e-5


def tolerance(model: onnx.ModelProto) -> float:
    """How far, of the largest result, a row may be from itself in another batch and the model still be sound."""
    parts = list(graphs(model.graph))
    nodes = [node for part in parts for node in part.node] + [node for part in model.functions for node in part.node]
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for part in parts for tensor in part.initializer)
    return COARSE if half or any("Quantize" in node.op_type for node in nodes) else TOLERANCE


def rehearse(engine: Engine, spec: ModelSpec, rows: int, allowed: float = TOLERANCE) -> None:
    """Runs at most so many rows of random values, two steps each, together and alone. No sequence is live, so no state
    can be harmed; twice as many slots as rows are needed.

    Raises ConfigurationError if the runtime refuses them, or the results differ by more than `allowed` without being
    drawn at random.
    """
    steps = _steps(engine, spec, min(rows, ROWS))
    together, again = _results(engine, steps), _results(engine, steps)
    alone = [_results(engine, row) for row in zip(*map(_rows, steps), strict=True)]
    for step, batch in enumerate(steps):
        for number, output in enumerate(spec.outputs):
            parts = np.concatenate([results[step][number] for results in alone])
            whole, drawn = together[step][number], again[step][number]
            if _near(whole, drawn, allowed) and not _near(whole, parts, allowed):
                raise ConfigurationError(f"output {output.name}: {_verdict(step, batch.lengths)}")


def _verdict(step: int, lengths: Rows) -> str:
    when = " in its second step" if step else ""
    heed = "the model does not heed its lengths, " if len(set(lengths.tolist())) > 1 else ""
    return (
        f"a row has other results in a batch than alone{when}; an axis is wrong, {heed}or the model mixes rows: say "
        "chunk.rows = 1"
    )


def _steps(engine: Engine, spec: ModelSpec, rows: int) -> tuple[Batch, Batch]:
    """A fresh step, and one from the states that it left. Rows read one slot and write another."""
    rng, slots = np.random.default_rng(0), np.arange(rows)
    first, second = _lengths(engine, spec, rows)
    fresh, kept = np.ones(rows, np.bool_), np.zeros(rows, np.bool_)
    return (
        Batch(_values(spec, first, rng), first, slots + rows, slots, fresh),
        Batch(_values(spec, second, rng), second, slots, slots + rows, kept),
    )


def _lengths(engine: Engine, spec: ModelSpec, rows: int) -> tuple[Rows, Rows]:
    """Of the rows in both steps: as different as the spec lets them be."""
    chunk, cells = spec.chunk, sum(prod(given.shape) for given in spec.inputs)
    most = chunk.exactly or min(chunk.longest, TIME, max(1, CELLS // cells))
    full = np.full(rows, most, np.int64)
    if chunk.exactly is not None and not chunk.padded_end:
        return full, full
    if chunk.equal_lengths or rows == 1:
        return full, np.maximum(1, full // 2)
    ragged = np.array([most, max(1, most // 2), _shortest(engine, spec, most)][:rows], np.int64)
    return (ragged if chunk.exactly is None else full), ragged[::-1].copy()


def _shortest(engine: Engine, spec: ModelSpec, most: int) -> int:
    """One time step, or a third of the most where the model cannot take so few, as those that look a window back."""
    none, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    try:
        engine.run(Batch(_values(spec, one, np.random.default_rng(0)), one, none + 1, none, np.ones(1, np.bool_)))
    except ModelFailed:
        return max(1, most // 3)
    return 1


def _values(spec: ModelSpec, lengths: Rows, rng: np.random.Generator) -> tuple[Array, ...]:
    return tuple(given.sample(int(lengths.sum()), rng) for given in spec.inputs)


def _rows(batch: Batch) -> Iterator[Batch]:
    """Each row alone."""
    if len(batch) == 1:
        yield batch
        return
    for half in batch.halves():
        yield from _rows(half)


def _results(engine: Engine, steps: Sequence[Batch]) -> list[tuple[Array, ...]]:
    """Of each step the outputs, one after the other. Raises ConfigurationError if the runtime refuses one."""
    return [_run(engine, batch) for batch in steps]


def _run(engine: Engine, batch: Batch) -> tuple[Array, ...]:
    try:
        return tuple(np.asarray(cells, np.float64) for cells in engine.run(batch).outputs.cells)
    except ModelFailed as error:
        raise ConfigurationError(f"a first run of {batch} failed, is an axis wrong? {error}") from error


def _near(a: Array, b: Array, allowed: float) -> bool:
    """Whether two results [n, ...] are the same but for noise, column by column. NaN and infinity must be in the same
    cells: random values may well give some, and they tell nothing of the others."""
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.array_equal(finite, np.isfinite(b)):
        return False
    a, b = np.where(finite, a, 0), np.where(finite, b, 0)
    columns = np.abs(a).max(axis=0)  # [...]
    # A quarter of the columns are below this: one that is nearly zero by chance is held to what others are.
    usual = np.quantile(columns, 0.25, method="lower")
    noise = NOISE * min(1.0, float(columns.max()))
    return bool(np.all(np.abs(a - b) <= allowed * np.maximum(columns, usual) + noise))
