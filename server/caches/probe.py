"""A run at load that shows whether this runtime writes the arenas in place, and nothing else of them.

Where the buffer that goes in is not the one that comes out, the results are right, and the cells of rows that do not
step are lost: only the cells themselves tell.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headrace.errors import ConfigurationError, ModelFailed
from headrace.spec import ModelSpec

from ..batch import Batch, Grown, Outcome
from ..steps import Array, Rows
from .residents import Residents

ROWS, CELLS = 3, 4
"""The first steps, the second does not, the third has a chunk; so many of their cells are looked at."""


def probe(run: Callable[[Batch], Outcome], residents: Residents, spec: ModelSpec) -> None:
    """Raises ConfigurationError if a cell is not written that should be, or another one is."""
    rng, rows = np.random.default_rng(0), np.arange(ROWS)
    _settle(residents, rng)
    before = [tensor.cells[:ROWS, :, :CELLS].copy() for tensor in residents.cells.tensors]
    counts = np.array([1, 0, min(2, spec.chunk.longest, (spec.longest or ROWS) - 1)])
    try:
        run(_batch(spec, rows[counts > 0], counts[counts > 0], rng))
    except ModelFailed as error:
        raise ConfigurationError(f"the runtime cannot keep the caches of this model in place: {error}") from error
    for number, (tensor, old) in enumerate(zip(residents.cells.tensors, before, strict=True)):
        written = 0 * counts if spec.caches[number // 2].filled else counts
        if not _changed_alone(old, tensor.cells[:ROWS, :, :CELLS], written):
            raise ConfigurationError(f"{spec.name}: this runtime does not keep {tensor.name} in place; install another")
    residents.forget(rows.tolist())


def _settle(residents: Residents, rng: np.random.Generator) -> None:
    """Each of the rows is that of a sequence after one time step, with a source of one; its cells are noise."""
    rows, tensors = np.arange(ROWS), residents.cells.tensors
    for tensor in tensors:
        cells = tensor.cells[:ROWS, :, :CELLS]  # [rows, heads, cells, width]
        cells[:] = rng.standard_normal(cells.shape)
    for number in rows.tolist():
        residents.keep(number, {tensor.name: tensor.cells[number, :, :1].copy() for tensor in tensors if tensor.filled})
    residents.enter(rows, 0 * rows, 0 * rows + 1)


def _batch(spec: ModelSpec, numbers: Rows, lengths: Rows, rng: np.random.Generator) -> Batch:
    values = tuple(given.sample(int(lengths.sum()), rng) for given in spec.inputs)
    none = 0 * numbers  # there may be one slot only, and nobody's state is in it yet
    return Batch(values, lengths, none, none, none == 0, Grown(numbers, none + 1))


def _changed_alone(old: Array, new: Array, counts: Rows) -> bool:
    """old, new [rows, heads, cells, width]: whether just cells 1 to counts are other ones, in each row."""
    changed = (old != new).any(axis=(1, 3))  # [rows, cells]
    cell = np.arange(changed.shape[1])
    return bool(np.array_equal(changed, (cell > 0) & (cell <= counts[:, None])))
