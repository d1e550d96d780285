"""Rows that wait behind another row of their sequence, in order: a batch never holds a sequence twice."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

import numpy as np
from numpy.typing import NDArray

from .steps import Sink, Steps

#: A parked row: its piece, and where it stands there.
Row = tuple[Steps, int]


class Parked:
    """Mutable: `_rows`, sequence number → its rows, foremost first; no empty ones."""

    def __init__(self) -> None:
        self._rows: dict[int, deque[Row]] = {}

    def __bool__(self) -> bool:
        return bool(self._rows)

    def __len__(self) -> int:
        return sum(map(len, tuple(self._rows.values())))  # another thread may ask

    def add(self, steps: Steps) -> None:
        """Rows of different sequences."""
        for row, number in enumerate(steps.numbers.tolist()):
            self._rows.setdefault(number, deque()).append((steps, row))

    def next(self, numbers: NDArray[np.integer]) -> list[Steps]:
        """Takes the foremost row of each of these sequences; those of a piece stay one."""
        if not self._rows:
            return []
        rows: dict[int, tuple[Steps, list[int]]] = {}
        for number in numbers.tolist():
            if parked := self._rows.get(number):
                piece, row = parked.popleft()
                rows.setdefault(id(piece), (piece, []))[1].append(row)
                if not parked:
                    del self._rows[number]
        return [piece.take(np.array(chosen)) for piece, chosen in rows.values()]

    def withdraw(self, number: int) -> list[Steps]:
        """Takes out all rows of a sequence."""
        return [alone(row) for row in self._rows.pop(number, ())]

    def withdraw_from(self, number: int, position: int) -> list[Steps]:
        """Takes out the row that begins at `position` and those behind it; nothing if none begins there."""
        parked = self._rows.get(number, deque())
        at = bisect_left(parked, position, key=position_of)  # they are in order
        if at == len(parked) or position_of(parked[at]) != position:
            return []
        behind = [alone(parked.pop()) for _ in range(len(parked) - at)]
        if not parked:
            del self._rows[number]
        return behind[::-1]

    def withdraw_all(self) -> list[Steps]:
        """Takes out every row."""
        everything = [alone(row) for rows in self._rows.values() for row in rows]
        self._rows.clear()
        return everything

    def of(self, sink: Sink, keys: frozenset[int] | None) -> list[tuple[int, int]]:
        """Sequence and position of each row of a caller; with `keys`, of those rows alone."""
        rows = ((number, row) for number, parked in self._rows.items() for row in parked if row[0].sink is sink)
        return [(number, position_of(row)) for number, row in rows if keys is None or int(row[0].keys[row[1]]) in keys]


def position_of(row: Row) -> int:
    steps, at = row
    return int(steps.positions[at])


def alone(row: Row) -> Steps:
    """The row as a piece of its own."""
    steps, at = row
    return steps.take(np.array([at]))
