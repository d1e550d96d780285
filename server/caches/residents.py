"""Sequences with cells: those that step have a hot row of the arenas, the others lie in ordinary memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..memory import release
from ..steps import Array, Rows
from .cells import Cells, Parked, cut
from .kinds import Layout
from .places import NOWHERE, Move, Places

IDLE_BYTES, MOVE_BYTES = 1 << 11, 1 << 17
"""What an idle row costs a tick for each cache (2 µs), and to move a sequence, in bytes that could be moved meanwhile.

They are moved at 1 GB a second where their pages have to be asked for, ten times as fast where these are there.
"""
SPARE_BYTES = 1 << 26
"""Pages of so many bytes are kept for sequences to come, and as many for those that came and will want them: to have
them anew costs several percent of a token's time."""
ALIGNED = 16
"""Ranges begin at a multiple of so many rows: fewer ranges, whose calls are kept."""


class Residents:
    """Mutable: the places, the cells, and `_parked`, those of sequences without a hot row, by number.

    And for what pays: `_paged`, bytes of the pages that each hot row may have; `_waste`, bytes that could have been
    moved while ticks went over idle rows; `_freed`, bytes of ordinary memory that was let go and not taken since.
    """

    def __init__(self, layout: Layout, rows: int) -> None:
        self.cells, self.places = Cells(layout, rows), Places(rows, len(layout.kinds))
        self._layout, self._parked = layout, dict[int, Parked]()
        self._filled = any(kind.filled for kind in layout.kinds)
        self._windows = [k for k, kind in enumerate(layout.kinds) if kind.kept]
        self._paged, self._waste, self._freed = np.zeros(rows, np.int64), 0, 0

    def enter(self, numbers: Rows, past: Rows, lengths: Rows) -> Rows:
        """[rows] a hot row for each sequence, its first `past` cells in it, and room behind them for `lengths` more.

        Raises ValueError if such cells are not there, IndexError for more sequences than there are hot rows.
        """
        places = self.places
        places.know(numbers)
        if self._windows:
            places.base[:, numbers[past == 0]] = 0
        self._require(numbers, past)
        places.held[numbers] = past
        rows = places.touch(numbers)
        if np.count_nonzero(rows == NOWHERE):
            for move in places.claim(numbers[rows == NOWHERE]):
                self._move(move)
            rows = places.row[numbers]
        for kind in self._windows:
            self._slide(kind, numbers, rows, past, lengths)
        rows = self._lower(rows, numbers)
        places.held[numbers] = past + lengths
        return rows

    def failed(self, numbers: Rows, past: Rows) -> None:
        """What the tick was to write is not there."""
        self.places.know(numbers)
        self.places.held[numbers] = np.minimum(self.places.held[numbers], past)

    def keep(self, number: int, source: dict[str, Array]) -> None:
        """A sequence at its beginning; source: of each tensor of a filled cache its cells, [heads, cells, width]."""
        self.places.know(np.array([number]))
        self.forget([number])
        cells = []
        for cache, kind in zip(self._layout.caches, self._layout.of, strict=True):
            of = self._layout.kinds[kind]
            none = np.zeros((of.heads, 0, of.width), np.float32)
            cells += [source.get(name, none) for name in (cache.keys, cache.values)]
        self.places.filled[number] = max(part.shape[1] for part in cells)
        self._parked[number] = Parked(tuple(cells))

    def fork(self, number: int, length: int, numbers: Rows) -> None:
        """The others become what `number` was after `length` time steps. Raises ValueError if that is not known."""
        places = self.places
        places.know(np.append(numbers, number))
        if length:
            self._require(np.array([number]), np.array([length]))
        parked = self._copy(number, length)
        self.forget(numbers.tolist())
        for other in numbers.tolist():
            places.held[other], places.filled[other] = length, places.filled[number]
            places.base[:, other] = places.base[:, number] if length else 0
            if parked is not None:
                self._parked[other] = parked

    def forget(self, numbers: Sequence[int]) -> None:
        """Their memory is given back, or kept for others if it is little."""
        for number in numbers:
            if number < len(self.places.row):
                self._leave(number)
                self._freed += _size(self._parked.pop(number, None))
                self.places.forget(number)
        self._trim()
        if self._freed > SPARE_BYTES:
            release()
            self._freed = 0

    def finite(self, number: int, begin: int, end: int) -> bool:
        """Whether the cells of these time steps are, of a sequence that has a hot row."""
        row, base = int(self.places.row[number]), self.places.base[:, number].tolist()
        growing = [k for k, kind in enumerate(self._layout.kinds) if not kind.filled]
        return all(self.cells.finite(row, k, begin - base[k], end - base[k]) for k in growing)

    @property
    def bytes(self) -> int:
        """Of all cells in use; those that forks share count for each."""
        return int(self._used(np.arange(len(self.places.row))).sum())

    def _used(self, numbers: Rows) -> Rows:
        """[numbers] bytes of their cells in use."""
        places, used = self.places, np.zeros(len(numbers), np.int64)
        for k, kind in enumerate(self._layout.kinds):
            grown = places.held[numbers] - places.base[k, numbers]
            count = places.filled[numbers] if kind.filled else np.maximum(grown, 0)
            used += count * (kind.cell_bytes * self._layout.of.count(k))
        return used

    def _require(self, numbers: Rows, past: Rows) -> None:
        places = self.places
        if np.count_nonzero(past > places.held[numbers]):
            raise ValueError("a sequence has fewer cells than time steps before this one")
        if self._filled and not places.filled[numbers].all():
            raise ValueError("a sequence has no source: `begin` comes first")
        for kind in self._windows:
            seen = np.minimum(past, self._layout.kinds[kind].window - 1)
            if np.count_nonzero(past - places.base[kind, numbers] < seen):
                raise ValueError("a sequence was taken back behind the cells that its window has left")

    def _counts(self, number: int, held: int) -> list[int]:
        """Cells in use of each kind after so many time steps."""
        places = self.places
        return [
            int(places.filled[number]) if kind.filled else max(0, held - int(places.base[k, number]))
            for k, kind in enumerate(self._layout.kinds)
        ]

    def _copy(self, number: int, length: int) -> Parked | None:
        counts, row = self._counts(number, length), int(self.places.row[number])
        if row != NOWHERE:
            return self.cells.taken(row, counts)
        parked = self._parked.get(number)
        return None if parked is None else cut(parked, self._layout, counts)

    def _move(self, move: Move) -> None:
        """Into a row whose pages may be there; those of a much longer one are given back where there are many such."""
        if move.out != NOWHERE:
            self._park(move.out, move.row)
        if self._paged[move.row] > MOVE_BYTES + 2 * self._bytes_of(move.number) and self._unused() > SPARE_BYTES:
            self._give_back(move.row)
        parked = self._parked.pop(move.number, None)
        if parked is not None:
            self.cells.put(move.row, parked, self._counts(move.number, int(self.places.held[move.number])))

    def _park(self, number: int, row: int) -> None:
        self._parked[number] = parked = self.cells.taken(row, self._counts(number, int(self.places.held[number])))
        self._freed = max(0, self._freed - _size(parked))
        self._paged[row] = max(self._paged[row], self._bytes_of(number))

    def _leave(self, number: int) -> None:
        used = self._bytes_of(number)
        if (row := self.places.leave(number)) != NOWHERE:
            self._paged[row] = max(self._paged[row], used)

    def _trim(self) -> None:
        """The topmost free rows give their pages back, for the lowest are taken first."""
        free = np.flatnonzero(self.places.number == NOWHERE)
        kept = int(self._paged[free].sum())
        for row in free[::-1].tolist():
            if kept <= SPARE_BYTES:
                return
            kept -= int(self._paged[row])
            self._give_back(row)

    def _unused(self) -> int:
        """Bytes of pages that rows have beyond the cells of their sequences."""
        taken = np.flatnonzero(self.places.number != NOWHERE)
        more = self._paged[taken] - self._used(self.places.number[taken])
        return int(np.maximum(more, 0).sum())

    def _give_back(self, row: int) -> None:
        self.cells.give_back(row)
        self._paged[row] = 0

    def _slide(self, kind: int, numbers: Rows, rows: Rows, past: Rows, lengths: Rows) -> None:
        """Rows that have more cells than pay begin anew with the last ones."""
        of, base = self._layout.kinds[kind], self.places.base[kind]
        used = past - base[numbers]
        for place in np.flatnonzero((used + lengths > of.most) & (used > of.kept)):
            number, begin = int(numbers[place]), int(past[place]) - of.kept
            self.cells.move(int(rows[place]), kind, begin - int(base[number]), of.kept)
            base[number] = begin

    def _lower(self, rows: Rows, numbers: Rows) -> Rows:
        """If idle rows have cost as much as it does to move the topmost sequence down, it is moved."""
        first, stop = extent(rows)
        idle = stop - first - len(rows)
        if not idle:
            self._waste = 0
            return rows
        top, waste = int(self.places.number[stop - 1]), self._waste
        self._waste += idle * IDLE_BYTES * len(self._layout.caches)
        if waste < MOVE_BYTES + self._bytes_of(top):
            return rows
        self._waste = 0
        if move := self.places.lower(stop - 1, first):
            self._park(top, stop - 1)
            self._move(move)
            self._trim()
        return self.places.row[numbers]

    def _bytes_of(self, number: int) -> int:
        """Of its cells in use."""
        return int(self._used(np.array([number]))[0])


def _size(parked: Parked | None) -> int:
    """Bytes."""
    return 0 if parked is None else sum(cells.nbytes for cells in parked.cells)


def extent(rows: Rows) -> tuple[int, int]:
    """The range of hot rows that has all of these: its first, and the one behind its last."""
    return int(rows.min()) // ALIGNED * ALIGNED, int(rows.max()) + 1
