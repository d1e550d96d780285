"""Rows that wait, as columns, whoever sent them. A frame stays whole until its last row leaves: nothing is copied but
what runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .steps import Array, Rows, Steps

#: Columns of the rows that wait: the serial of their piece, their place in it, their caller's key, their length, and
#: how many batches have passed them over.
PIECE, ROW, KEY, LENGTH, PASSED = COLUMNS = range(5)


class Pool:
    """Mutable: `_columns` [COLUMNS, rows] int64 and `_deadlines` [rows] seconds, oldest first; `_soonest`, of these the
    first; `_pieces`, serial → piece and how many of its rows wait; `_new`, pieces that are not among the columns yet,
    since they come one by one and are looked at together."""

    def __init__(self) -> None:
        self._columns: Rows = np.zeros((len(COLUMNS), 0), np.int64)
        self._deadlines = np.zeros(0)
        self._soonest = np.inf
        self._pieces: dict[int, tuple[Steps, int]] = {}
        self._new: list[Steps] = []
        self._serials = 0

    def __len__(self) -> int:
        """May be asked for from another thread: true a moment ago."""
        return int(self._columns.shape[1]) + sum(map(len, tuple(self._new)))

    def __bool__(self) -> bool:
        return bool(self._new) or self._columns.shape[1] > 0

    def __repr__(self) -> str:
        return f"Pool(rows={len(self)}, pieces={len(self._pieces) + len(self._new)})"

    def add(self, steps: Steps) -> None:
        if len(steps):
            self._new.append(steps)

    def column(self, name: int, rows: int | None = None) -> Rows:
        """[rows] of the oldest rows, or of all, as a view."""
        self._merge()
        return self._columns[name, :rows]

    def urgent(self, before: float) -> Rows:
        """Places of the rows whose deadline is before this, in seconds."""
        none = np.zeros(0, np.int64)
        return none if self._soonest >= before else np.flatnonzero(self._deadlines < before)

    def late(self, now: float) -> list[Steps]:
        """Takes out the rows whose deadline is before `now`, in seconds."""
        self._merge()
        return self.take(self.urgent(now))

    def take(self, places: Rows) -> list[Steps]:
        """Takes out the rows at these places, ascending; those of one piece stay one."""
        if not len(places):
            return []
        serials, rows = self._columns[PIECE, places], self._columns[ROW, places]
        cuts = ((serials[1:] != serials[:-1]).nonzero()[0] + 1).tolist()  # where the rows of another piece begin
        spans = zip([0, *cuts], [*cuts, len(places)], strict=True)
        taken = [self._part(int(serials[begin]), rows[begin:end]) for begin, end in spans]
        self._keep_but(places)
        return taken

    def take_of(self, mine: Callable[[Steps], bool], keys: frozenset[int] | None = None) -> list[Steps]:
        """Takes out the rows of the pieces that are mine; with `keys`, of those the rows with such a key alone."""
        self._merge()
        serials = [serial for serial, (piece, _) in self._pieces.items() if mine(piece)]
        gone = np.isin(self._columns[PIECE], serials)
        if keys is not None:
            gone &= np.isin(self._columns[KEY], list(keys))
        return self.take(np.flatnonzero(gone))

    def _merge(self) -> None:
        """The new pieces join the columns."""
        if not self._new:
            return
        columns = [self._columns_of(piece) for piece in self._new]
        deadlines = np.concatenate([piece.deadlines for piece in self._new])
        self._columns = np.concatenate([self._columns, *columns], axis=1)
        self._deadlines = np.concatenate([self._deadlines, deadlines])
        self._soonest = min(self._soonest, float(deadlines.min()))
        self._new = []

    def _columns_of(self, piece: Steps) -> Rows:
        self._serials += 1
        self._pieces[self._serials] = piece, len(piece)
        columns: Rows = np.zeros((len(COLUMNS), len(piece)), np.int64)
        columns[PIECE], columns[ROW] = self._serials, np.arange(len(piece))
        columns[KEY], columns[LENGTH] = piece.keys, piece.lengths
        return columns

    def _part(self, serial: int, rows: Array) -> Steps:
        """These rows of a piece, which goes with its last one."""
        piece, left = self._pieces.pop(serial)
        if left > len(rows):
            self._pieces[serial] = piece, left - len(rows)
        return piece if len(rows) == len(piece) else piece.take(rows)

    def _keep_but(self, places: Rows) -> None:
        kept = np.ones(self._columns.shape[1], np.bool_)
        kept[places] = False
        self._columns, self._deadlines = self._columns[:, kept], self._deadlines[kept]
        if np.isfinite(self._soonest):
            self._soonest = float(np.minimum.reduce(self._deadlines, initial=np.inf))
