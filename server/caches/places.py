"""Who has which hot row, and how many of whose cells are in use. Plain data: no memory is touched here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..steps import Rows

NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Move:
    """Sequence `number` gets `row`; who was there, `out`, leaves it first, NOWHERE for none."""

    number: int
    row: int
    out: int


class Places:
    """Columns by a sequence's number, and by hot row. Mutable: all of them, by the lane's thread alone.

    row: NOWHERE for a sequence without a hot row. held: time steps whose cells are valid. filled: cells of its source.
    base [kinds, numbers]: the time step of a row's first cell, above 0 where a window has slid.
    """

    def __init__(self, rows: int, kinds: int) -> None:
        self.number, self._used = np.full(rows, NOWHERE), np.zeros(rows, np.int64)  # int64 [rows] each
        self._tick = 0
        self.row, self.held, self.filled = np.full(0, NOWHERE), np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.base = np.zeros((kinds, 0), np.int64)

    def __repr__(self) -> str:
        return f"Places(hot={np.count_nonzero(self.number != NOWHERE)}, rows={len(self.number)})"

    def know(self, numbers: Rows) -> None:
        """There is a place in the columns for each."""
        if len(numbers) and (last := int(numbers.max())) >= len(self.row):
            more = max(last + 1, 2 * len(self.row)) - len(self.row)
            self.row = np.concatenate([self.row, np.full(more, NOWHERE)])
            self.held, self.filled = (np.concatenate([x, np.zeros(more, np.int64)]) for x in (self.held, self.filled))
            self.base = np.concatenate([self.base, np.zeros((len(self.base), more), np.int64)], 1)

    def touch(self, numbers: Rows) -> NDArray[np.int64]:
        """A tick of these begins: [numbers] their rows, NOWHERE of those without."""
        self._tick += 1
        rows = self.row[numbers]
        self._used[rows[rows != NOWHERE] if np.count_nonzero(rows == NOWHERE) else rows] = self._tick
        return rows

    def claim(self, numbers: Rows) -> list[Move]:
        """A row for each, which has none: the lowest free ones, then those that were not used for longest.

        Raises IndexError if this tick's sequences have all rows.
        """
        free = np.flatnonzero(self.number == NOWHERE)[: len(numbers)]
        idle = np.flatnonzero((self.number != NOWHERE) & (self._used != self._tick))
        oldest = idle[np.argsort(self._used[idle], kind="stable")][: len(numbers) - len(free)]
        rows = np.sort(np.concatenate([free, oldest]))
        if len(rows) < len(numbers):
            raise IndexError(f"{len(numbers)} rows wanted, {len(rows)} can be had")
        return [self._take(int(number), int(row)) for number, row in zip(numbers, rows, strict=True)]

    def lower(self, top: int, first: int) -> Move | None:
        """The sequence in row `top` gets a row from `first` on below it: a free one, or one that does not step now."""
        below = self.number[first:top]
        rows = np.flatnonzero(below == NOWHERE)
        if not len(rows):
            rows = np.flatnonzero(self._used[first:top] != self._tick)
        if not len(rows):
            return None
        number = int(self.number[top])
        self.leave(number)
        return self._take(number, first + int(rows[0]))

    def leave(self, number: int) -> int:
        """Its row, which is free now; NOWHERE if it had none."""
        row = int(self.row[number])
        if row != NOWHERE:
            self.number[row] = self.row[number] = NOWHERE
        return row

    def forget(self, number: int) -> None:
        """Nothing of it is in use."""
        self.held[number] = self.filled[number] = 0
        self.base[:, number] = 0

    def _take(self, number: int, row: int) -> Move:
        out = int(self.number[row])
        if out != NOWHERE:
            self.row[out] = NOWHERE
        self.number[row], self.row[number], self._used[row] = number, row, self._tick
        return Move(number, row, out)
