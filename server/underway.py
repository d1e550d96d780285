"""Long steps under way. A row with more time steps than may run in one tick takes several, a part in each.

So a batch stays full where steps are of different lengths: rows that end leave it, and others take their places.
Such a row is still one step. Until its last part has run its sequence is as it was: its state lies in a slot that is
nobody's, its outputs here, and whatever fails in between fails the whole step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, repeat
from typing import NamedTuple

import numpy as np

from headrace.ragged import starts
from headrace.spec import ModelSpec, Output

from .batch import Batch, Outcome
from .sequences import FRESH, FreeList, Sequences
from .steps import Array, Outputs, Rows, Steps, pack

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
        """Long rows begin; returns the others."""
        lengths = pack(pieces, "lengths")
        long = lengths > self._part
        rows = [(piece, at) for piece in pieces for at in range(len(piece))]
        chosen = [row for row, takes in zip(rows, long.tolist(), strict=True) if takes]
        begun = zip(chosen, lengths[long].tolist(), strict=True)
        self._rows += [Row(piece, at, self._blank(length)) for (piece, at), length in begun]
        first = np.concatenate([starts(piece.lengths) for piece in pieces])
        places = np.array(
            [pack(pieces, "numbers"), first, lengths, np.zeros_like(lengths), np.full_like(lengths, FRESH)]
        )
        self._places = np.concatenate([self._places, places[:, long]], axis=1)
        return [] if len(chosen) == len(rows) else self._short(pieces)

    def assemble(self, pieces: Sequence[Steps], sequences: Sequences, slots: FreeList) -> Batch:
        """The rows of the pieces, and behind them the next part of each row under way; as `batch.assemble`."""
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
        settled = self._settled(pieces, batch, outcome, np.concatenate([np.ones(whole, np.bool_), over]))
        # From here on nothing can fail: whoever is left has moved on, or nobody has.
        slots.give(self.slots)
        self._places[DONE], self._places[SLOT] = done, batch.write[whole:]
        self._rows = [row for row, gone in zip(self._rows, over.tolist(), strict=True) if not gone]
        self._places = self._places[:, ~over]
        return settled

    def drop(self, slots: FreeList) -> list[Steps]:
        """All rows leave, as single steps, and so do their slots."""
        slots.give(self.slots)
        gone, self._rows, self._places = self._rows, [], self._places[:, :0]
        return list(_pieces(gone))

    def _blank(self, length: int) -> tuple[Array, ...]:
        return tuple(np.zeros((length if o.time else 1, *o.shape), o.dtype) for o in self._outputs)

    def _short(self, pieces: Sequence[Steps]) -> list[Steps]:
        short = [piece.take(piece.lengths <= self._part) for piece in pieces]
        return [piece for piece in short if len(piece)]

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

    def _settled(self, pieces: Sequence[Steps], batch: Batch, outcome: Outcome, over: Array) -> Settled:
        """over: [rows] of the batch."""
        whole = len(batch) - len(self)
        gone = [row for row, ends in zip(self._rows, over[whole:].tolist(), strict=True) if ends]
        given = outcome.outputs.part(slice(0, whole)).cells
        cells = tuple(map(np.concatenate, zip(given, *(row.outputs for row in gone), strict=True)))
        lengths = np.concatenate([batch.lengths[:whole], self._places[LENGTH][over[whole:]]])
        outputs = Outputs(cells, outcome.outputs.timed, lengths)
        result = Outcome(outputs, outcome.sound[over], outcome.compute_cpu)
        return Settled([*pieces, *_pieces(gone)], batch.write[over], result)


def _pieces(rows: Sequence[Row]) -> Iterator[Steps]:
    """The rows' steps; those of one piece stay one, for they stand together."""
    for _, group in groupby(rows, key=lambda row: id(row.piece)):
        together = list(group)
        yield together[0].piece.take(np.array([row.at for row in together]))
