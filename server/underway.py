"""Long steps under way. A row with more time steps than may run in one tick takes several, a part in each.

So a batch stays full where steps are of different lengths: rows that end leave it, and others take their places.
Such a row is still one step. Until its last part has run its sequence is as it was: its state lies in a slot that is
nobody's, its outputs here, and whatever fails in between fails the whole step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.ragged import starts
from headrace.spec import ModelSpec, Output

from .batch import Batch, Grown, Outcome
from .sequences import FRESH, FreeList, Sequences
from .steps import Array, Outputs, Rows, Steps, occurs, same

#: Columns of the rows under way. Of the step: its sequence and `Steps` columns, the time step of its piece's values
#: with which it begins, and of how many time steps, its last ones, outputs are asked for. Of the work: how many time
#: steps are done, and the slot where the state lies meanwhile; FRESH before the first part, when it is in the
#: sequence's own.
NUMBER, KEY, POSITION, LENGTH, ACKED, FIRST, ASKED, DONE, SLOT = COLUMNS = range(9)


class Row(NamedTuple):
    """The piece of which it is a row, and what the model gave for it so far: [asked, ...], or [1, ...] each; nothing
    before its first part."""

    piece: Steps
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
    return spec.stateful and spec.parity is not None and not whole


class Underway:
    """part: the most time steps of a row in one tick. few: so many in all may a tick take whose rows would make less of
    them, for a call of the runtime costs about as much as several time steps of a few rows. caches: whether the model
    has some.

    Mutable: `_places` [COLUMNS, rows] int64; `_rows`, the same rows' pieces and outputs.
    """

    def __init__(self, outputs: Sequence[Output], part: int, few: int, *, caches: bool = False) -> None:
        self._outputs, self._part, self._few, self._caches = outputs, part, few, caches
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
        """Time steps of the next tick at most, unless other rows join it."""
        return int(np.add.reduce(self._parts(len(self)))) if self._rows else 0

    def _parts(self, rows: int) -> Rows:
        """[rows] time steps of each in a tick of so many rows."""
        part = max(self._part, self._few // rows)
        lengths: Rows = np.minimum(self._places[LENGTH] - self._places[DONE], part)
        return lengths

    def holds(self, number: int) -> bool:
        """Whether a step of the sequence is under way."""
        return occurs(self._places[NUMBER] == number)

    def enter(self, pieces: Sequence[Steps]) -> list[Steps]:
        """All rows of the pieces with long ones begin; returns the other pieces."""
        begun = [piece for piece in pieces if self._cuts(piece)]
        self._rows += [Row(piece, ()) for piece in begun for _ in range(len(piece))]
        self._places = np.concatenate([self._places, *map(_places, begun)], axis=1)
        return [piece for piece in pieces if not self._cuts(piece)]

    def assemble(self, pieces: Sequence[Steps], sequences: Sequences, slots: FreeList) -> Batch:
        """The rows of the pieces, and behind them the next part of each row under way; as `batch.assemble`."""
        self._begin()
        self._sort()
        parts = self._parts(len(self) + sum(map(len, pieces)))
        lengths = np.concatenate([*(piece.lengths for piece in pieces), parts])
        numbers = np.concatenate([*(piece.numbers for piece in pieces), self._places[NUMBER]])
        whole = zip(*(piece.values for piece in pieces), strict=True) if pieces else repeat(())
        begins = self._places[FIRST] + self._places[DONE]
        cut = _spans(self._rows, begins, begins + parts)
        values = tuple(np.concatenate([*first, *rest]) for first, rest in zip(whole, cut, strict=False))
        slot = sequences.slot[numbers].astype(np.int64)
        meanwhile = self._places[SLOT]
        ours = slot[len(slot) - len(self) :]
        ours[meanwhile != FRESH] = meanwhile[meanwhile != FRESH]
        grown = Grown(numbers, self._past(sequences.position[numbers])) if self._caches else None
        asked = self._asked(pieces, parts, lengths)
        return Batch(values, lengths, np.maximum(slot, 0), slots.take(len(slot)), slot == FRESH, grown, asked)

    def _asked(self, pieces: Sequence[Steps], parts: Rows, lengths: Rows) -> Rows | None:
        """[rows] of the batch, None for all. A part has outputs to give if it comes as near to the end."""
        left = self._places[LENGTH] - self._places[DONE] - parts
        own = np.minimum(np.maximum(self._places[ASKED] - left, 0), parts)
        asked = np.concatenate([*(piece.asked for piece in pieces), own])
        return None if same(asked, lengths) else asked

    def _past(self, positions: Rows) -> Rows:
        """[rows] where sequences stand → the time steps before the next part; those under way are the last rows."""
        past = positions.copy()
        past[len(past) - len(self) :] += self._places[DONE]
        return past

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

    def withdraw(self, number: int, position: int, slots: FreeList) -> list[Steps]:
        """Takes out the sequence's step, if it begins there, and gives back its slot."""
        here = (self._places[NUMBER] == number) & (self._places[POSITION] == position)
        if not occurs(here):
            return []
        (at,) = np.flatnonzero(here).tolist()
        step = self._piece([at])
        slots.give(self._places[SLOT, here & (self._places[SLOT] != FRESH)])
        self._places = self._places[:, ~here]
        del self._rows[at]
        return [step]

    def drop(self, slots: FreeList) -> list[Steps]:
        """All rows leave, as single steps, and so do their slots."""
        slots.give(self.slots)
        steps = self._steps(self._grouped(range(len(self))))
        self._rows, self._places = [], self._places[:, :0]
        return steps

    def _cuts(self, piece: Steps) -> bool:
        return occurs(piece.lengths > self._part)

    def _begin(self) -> None:
        """Memory for the outputs of the rows that entered: where it is not to be had, this tick fails, and no more."""
        if not self._rows[-1].outputs:
            rows = zip(self._rows, self._places[ASKED].tolist(), strict=True)
            self._rows = [row if row.outputs else Row(row.piece, self._blank(asked)) for row, asked in rows]

    def _blank(self, asked: int) -> tuple[Array, ...]:
        return tuple(np.zeros((asked if o.time else 1, *o.shape), o.dtype) for o in self._outputs)

    def _sort(self) -> None:
        """By the next parts, longest first: the fewer different batches there are, the more of them are known to the
        engine from before."""
        left = self._places[LENGTH] - self._places[DONE]
        order = np.argsort(-np.minimum(left, self._part), kind="stable")
        self._places = self._places[:, order]
        self._rows = [self._rows[at] for at in order.tolist()]

    def _store(self, outputs: Outputs, whole: int) -> None:
        """Copies of what the tick gave for the rows behind the first `whole`."""
        lengths, ends = outputs.lengths[whole:], np.cumsum(outputs.lengths)[whole:]
        done = np.maximum(self._places[DONE] - (self._places[LENGTH] - self._places[ASKED]), 0)
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
        """The pieces' rows, and those under way that are over [rows]."""
        whole, ended = len(batch) - len(self), self._grouped(np.flatnonzero(over).tolist())
        given = outcome.outputs.part(slice(0, whole)).cells
        cells = tuple(map(np.concatenate, zip(given, *(self._rows[at].outputs for at in ended), strict=True)))
        lengths = np.concatenate([batch.given[:whole], self._places[ASKED, ended]])
        rows = [*range(whole), *(whole + at for at in ended)]
        result = Outcome(Outputs(cells, outcome.outputs.timed, lengths), outcome.sound[rows], outcome.compute_cpu)
        return Settled([*pieces, *self._steps(ended)], batch.write[rows], result)

    def _grouped(self, rows: Iterable[int]) -> list[int]:
        """Those of one frame together, by the first of each."""
        frames: dict[tuple[int, float, bool], list[int]] = {}
        for at in rows:
            frames.setdefault(_frame(self._rows[at]), []).append(at)
        return [at for frame in frames.values() for at in frame]

    def _steps(self, grouped: list[int]) -> list[Steps]:
        """One piece of each frame."""
        return [self._piece(list(rows)) for _, rows in groupby(grouped, key=lambda at: _frame(self._rows[at]))]

    def _piece(self, at: list[int]) -> Steps:
        """The steps of rows of one frame, whole."""
        places, rows = self._places[:, at], [self._rows[each] for each in at]
        values = _spans(rows, places[FIRST], places[FIRST] + places[LENGTH])
        return Steps(
            sink=rows[0].piece.sink,
            keys=places[KEY].astype(np.uint32),
            numbers=places[NUMBER],
            positions=places[POSITION],
            lengths=places[LENGTH],
            acked=places[ACKED],
            deadlines=np.full(len(at), np.inf),  # they were in time
            arrived=rows[0].piece.arrived,
            values=tuple(map(np.concatenate, values)),
            last_only=rows[0].piece.last_only,
        )


def _frame(row: Row) -> tuple[int, float, bool]:
    """What rows have in common that came together."""
    return id(row.piece.sink), row.piece.arrived, row.piece.last_only


def _places(piece: Steps) -> Rows:
    """[COLUMNS, rows] of rows that begin."""
    none = np.zeros_like(piece.lengths)
    columns = (piece.numbers, piece.keys, piece.positions, piece.lengths, piece.acked)
    return np.array([*columns, starts(piece.lengths), piece.asked, none, none + FRESH], np.int64)


def _spans(rows: Sequence[Row], begins: Rows, ends: Rows) -> list[list[Array]]:
    """Of each input these time steps of each row's piece."""
    spans = list(zip(rows, begins.tolist(), ends.tolist(), strict=True))
    return [[row.piece.values[i][begin:end] for row, begin, end in spans] for i in range(len(rows[0].piece.values))]
