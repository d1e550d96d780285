"""Long steps under way. A row with more time steps than may run in one tick takes several, a part in each.

So a batch stays full where steps are of different lengths: rows that end leave it, and others take their places.
Such a row is still one step. Until its last part has run its sequence is as it was: its state lies in a slot that is
nobody's, its outputs here, and whatever fails in between fails the whole step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.ragged import starts
from headrace.spec import ModelSpec, Output

from .batch import Batch, Outcome
from .sequences import FRESH, FreeList, Sequences
from .steps import Array, Outputs, Rows, Steps

#: Columns of the rows under way: the sequence; with which time step of its piece the row begins; how many it has, and
#: has done; and the slot where its state lies meanwhile, FRESH before the first part, when it is in the sequence's own.
NUMBER, FIRST, LENGTH, DONE, SLOT = COLUMNS = range(5)


class Row(NamedTuple):
    """Where a row stands in its piece, and what the model gave for it so far: [length, ...], or [1, ...] each."""

    piece: Steps
    at: int
    outputs: tuple[Array, ...]


class Settled(NamedTuple):
    """What a tick brought to an end: pieces whose rows are to be applied or to fail, and the slots that they wrote."""

    pieces: list[Steps]
    write: Rows
    outcome: Outcome


def cuts(spec: ModelSpec) -> bool:
    """Whether steps may be cut: parity tells that parts one after the other give what the whole gives."""
    rules = spec.chunk
    whole = rules.whole or rules.exactly is not None or rules.equal_lengths
    return spec.stateful and not spec.caches and spec.parity is not None and not whole


class Underway:
    """part: the most time steps of a row in one tick.

    Mutable: `_places` [COLUMNS, rows] int64; `_rows`, the same rows' pieces and outputs.
    """

    def __init__(self, outputs: Sequence[Output], part: int) -> None:
        self._outputs, self._part = outputs, part
        self._places = np.zeros((len(COLUMNS), 0), np.int64)
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Underway(rows={len(self)}, tokens={self.tokens})"

    @property
    def slots(self) -> Rows:
        """The slots that hold states meanwhile; fewer than rows, if some have not run yet."""
        slots = self._places[SLOT]
        held: Rows = slots[slots != FRESH]
        return held

    @property
    def tokens(self) -> int:
        """Time steps of the next tick."""
        return int(np.add.reduce(self._lengths)) if self._rows else 0

    @property
    def _lengths(self) -> Rows:
        """[rows] of the next part of each."""
        lengths: Rows = np.minimum(self._places[LENGTH] - self._places[DONE], self._part)
        return lengths

    def holds(self, number: int) -> bool:
        """Whether a step of the sequence is under way."""
        return bool(np.count_nonzero(self._places[NUMBER] == number))

    def enter(self, pieces: Sequence[Steps]) -> list[Steps]:
        """All rows of the pieces with long ones begin; returns the other pieces."""
        begun = [piece for piece in pieces if self._cuts(piece)]
        self._rows += [row for piece in begun for row in self._begin(piece)]
        self._places = np.concatenate([self._places, *map(_places, begun)], axis=1)
        return [piece for piece in pieces if not self._cuts(piece)]

    def assemble(self, pieces: Sequence[Steps], sequences: Sequences, slots: FreeList) -> Batch:
        """The rows of the pieces, and behind them the next part of each row under way; as `batch.assemble`."""
        self._sort()
        lengths = np.concatenate([*(piece.lengths for piece in pieces), self._lengths])
        numbers = np.concatenate([*(piece.numbers for piece in pieces), self._places[NUMBER]])
        whole = zip(*(piece.values for piece in pieces), strict=True) if pieces else repeat(())
        values = tuple(np.concatenate([*w, *parts]) for w, parts in zip(whole, self._values(), strict=False))
        slot = sequences.slot[numbers].astype(np.int64)
        meanwhile = self._places[SLOT]
        ours = slot[len(slot) - len(self) :]
        ours[meanwhile != FRESH] = meanwhile[meanwhile != FRESH]
        return Batch(values, lengths, np.maximum(slot, 0), slots.take(len(slot)).astype(np.int64), slot == FRESH)

    def advance(self, pieces: Sequence[Steps], batch: Batch, outcome: Outcome, slots: FreeList) -> Settled:
        """After the run of what `assemble` made. Rows that have ended, or are not sound, leave; the others go on."""
        whole = len(batch) - len(self)
        self._store(outcome.outputs, whole)
        done, sound = self._places[DONE] + batch.lengths[whole:], outcome.sound[whole:]
        over = (done == self._places[LENGTH]) | ~sound
        settled = self._settled(pieces, batch, outcome, over)
        # From here on nothing can fail: whoever is left has moved on, or nobody has.
        slots.give(self.slots)
        self._places[DONE], self._places[SLOT] = done, batch.write[whole:]
        self._rows = [row for row, gone in zip(self._rows, over.tolist(), strict=True) if not gone]
        self._places = self._places[:, ~over]
        return settled

    def drop(self, slots: FreeList) -> list[Steps]:
        """All rows leave, as single steps, and so do their slots."""
        slots.give(self.slots)
        gone, self._rows, self._places = sorted(self._rows, key=_piece), [], self._places[:, :0]
        return list(_pieces(gone))

    def _cuts(self, piece: Steps) -> bool:
        return bool(np.count_nonzero(piece.lengths > self._part))

    def _begin(self, piece: Steps) -> Iterator[Row]:
        for at, length in enumerate(piece.lengths.tolist()):
            cells = (np.zeros((length if o.time else 1, *o.shape), o.dtype) for o in self._outputs)
            yield Row(piece, at, tuple(cells))

    def _sort(self) -> None:
        """By the next parts, longest first: the fewer different batches there are, the more of them are known to the
        engine from before."""
        order = np.argsort(-self._lengths, kind="stable")
        self._places = self._places[:, order]
        self._rows = [self._rows[at] for at in order.tolist()]

    def _values(self) -> list[list[Array]]:
        """Of each input the next part of each row."""
        begins = self._places[FIRST] + self._places[DONE]
        spans = list(zip(self._rows, begins.tolist(), (begins + self._lengths).tolist(), strict=True))
        inputs = range(len(self._rows[0].piece.values))
        return [[row.piece.values[i][begin:end] for row, begin, end in spans] for i in inputs]

    def _store(self, outputs: Outputs, whole: int) -> None:
        """Copies of what the tick gave for the rows behind the first `whole`."""
        lengths = outputs.lengths[whole:]
        done, ends = self._places[DONE], np.cumsum(outputs.lengths)[whole:]
        columns = (done, done + lengths, ends - lengths, ends)
        spans = list(zip(self._rows, *(column.tolist() for column in columns), strict=True))
        for number, (given, timed) in enumerate(zip(outputs.cells, outputs.timed, strict=True)):
            if timed:
                for row, before, after, begin, end in spans:
                    row.outputs[number][before:after] = given[begin:end]
            else:
                for at, row in enumerate(self._rows, whole):
                    row.outputs[number][0] = given[at]

    def _settled(self, pieces: Sequence[Steps], batch: Batch, outcome: Outcome, over: NDArray[np.bool_]) -> Settled:
        """The pieces' rows, and those under way that are over [rows]; of these again those of one piece together."""
        whole = len(batch) - len(self)
        ended = sorted(np.flatnonzero(over).tolist(), key=lambda at: _piece(self._rows[at]))
        gone = [self._rows[at] for at in ended]
        given = outcome.outputs.part(slice(0, whole)).cells
        cells = tuple(map(np.concatenate, zip(given, *(row.outputs for row in gone), strict=True)))
        lengths = np.concatenate([batch.lengths[:whole], self._places[LENGTH, ended]])
        rows = [*range(whole), *(whole + at for at in ended)]
        result = Outcome(Outputs(cells, outcome.outputs.timed, lengths), outcome.sound[rows], outcome.compute_cpu)
        return Settled([*pieces, *_pieces(gone)], batch.write[rows], result)


def _piece(row: Row) -> int:
    return id(row.piece)


def _places(piece: Steps) -> Rows:
    """[COLUMNS, rows] of rows that begin."""
    none = np.zeros_like(piece.lengths)
    return np.array([piece.numbers, starts(piece.lengths), piece.lengths, none, none + FRESH])


def _pieces(rows: Iterable[Row]) -> Iterator[Steps]:
    """The rows' steps; those of one piece that stand together stay one."""
    for _, group in groupby(rows, key=_piece):
        together = list(group)
        yield together[0].piece.take(np.array([row.at for row in together]))
