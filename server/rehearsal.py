"""Runs of a stranger's model before it is served: what its `model.toml` says wrongly of its axes shows then.

Results of another shape fail. A batch axis taken for a time axis may not: then rows get parts of each other's results,
so each row is also run alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from headrace.errors import ConfigurationError, ModelFailed
from headrace.spec import ModelSpec

from .batch import Batch
from .lane import Engine
from .steps import Array

#: Rows of the batch: two may pass for the two of some other axis.
ROWS = 3

#: The most time steps of a row, where the spec leaves it open.
TIME = 256

#: Of the largest result; a model in eight bits may scale a row by its neighbours, wrong axes are off by far more.
TOLERANCE = 0.1


def rehearse(engine: Engine, spec: ModelSpec, rows: int) -> None:
    """Runs at most so many rows of random values together and alone. No sequence is live, so no state can be harmed.

    Raises ConfigurationError if the runtime refuses them, or the results differ without being drawn at random.
    """
    batch = _batch(spec, min(rows, ROWS))
    try:
        together, again = _results(engine, batch), _results(engine, batch)
        alone = [_results(engine, row) for row in _rows(batch)]
    except ModelFailed as error:
        raise ConfigurationError(f"a first run of {batch} failed, is an axis wrong? {error}") from error
    for number, output in enumerate(spec.outputs):
        parts = np.concatenate([results[number] for results in alone])
        if _near(together[number], again[number]) and not _near(together[number], parts):
            raise ConfigurationError(
                f"output {output.name}: a row has other results in a batch than alone; an axis is wrong, or the model "
                "mixes rows: say chunk.rows = 1"
            )


def _batch(spec: ModelSpec, rows: int) -> Batch:
    rng, time = np.random.default_rng(0), spec.chunk.exactly or min(spec.chunk.longest, TIME)
    values = tuple(given.sample(rows * time, rng) for given in spec.inputs)
    slots = np.arange(rows)
    return Batch(values, np.full(rows, time, np.int64), slots, slots, np.ones(rows, np.bool_))


def _rows(batch: Batch) -> Iterator[Batch]:
    """Each row alone."""
    if len(batch) == 1:
        yield batch
        return
    for half in batch.halves():
        yield from _rows(half)


def _results(engine: Engine, batch: Batch) -> tuple[Array, ...]:
    return tuple(np.asarray(cells, np.float64) for cells in engine.run(batch).outputs.cells)


def _near(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(a).max(), equal_nan=True))
