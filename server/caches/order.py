"""A batch as the graph takes it: rows of one token first, in the order of their hot rows, then chunks; and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.ragged import token_index

from ..batch import Batch, Grown
from ..steps import Array, Rows


@dataclass(frozen=True, slots=True)
class Sorted:
    """rows: hot rows; singles: how many of them have one token.

    order [rows] and outputs [tokens asked for]: which of the given batch's each is; None where nothing has moved.
    """

    batch: Batch
    grown: Grown
    rows: Rows
    singles: int
    order: Rows | None
    outputs: Rows | None

    @property
    def asked(self) -> Rows:
        """[rows] of so many of each row's last tokens the graph gives outputs: of one in all at least, for operators
        may refuse to run on none."""
        given = self.batch.given
        return given if given.any() else (np.arange(len(given)) == 0).astype(np.int64)

    def fill(self, first: int, stop: int) -> bool:
        """Whether each hot row of this range has one token, whose outputs are asked for."""
        return stop - first == self.singles == len(self.rows) and self.batch.asked is None


def in_order(batch: Batch, grown: Grown, rows: Rows) -> Sorted:
    """rows [rows]: the hot row of each."""
    later = batch.lengths > 1
    singles = len(rows) - int(np.count_nonzero(later))
    keys = rows if singles == len(rows) else rows + later * (int(rows.max()) + 1)
    if not np.count_nonzero(keys[1:] < keys[:-1]):
        return Sorted(batch, grown, rows, singles, None, None)
    order = np.argsort(keys, kind="stable")
    tokens = order if singles == len(rows) else token_index(batch.lengths, order)
    values = tuple(each[tokens] for each in batch.values)
    asked = None if batch.asked is None else batch.asked[order]
    columns = batch.lengths[order], batch.read[order], batch.write[order], batch.fresh[order]
    moved = Batch(values, *columns, asked=asked)
    outputs = tokens if batch.asked is None else token_index(batch.asked, order)
    return Sorted(moved, Grown(grown.numbers[order], grown.past[order]), rows[order], singles, order, outputs)


def back(cells: Array, rows: Sorted, *, timed: bool) -> Array:
    """A copy in the given batch's own order, cells [tokens asked for, ...] if `timed`, else [rows, ...]."""
    index = rows.outputs if timed else rows.order
    if index is None:
        return cells.copy()
    found = np.empty_like(cells)
    found[index] = cells
    return found
