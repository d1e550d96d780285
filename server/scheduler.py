"""Which rows run next. Plain data: no clock, no threads, no transport; it never looks into the values.

Of each sequence at most one row is ready; the others are parked behind it, in order, and step up when it is settled.
So a batch never holds a sequence twice, and no sequence can crowd out another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cost import Cost
from .hot import hot
from .parked import Parked, Row, alone, position_of
from .steps import Rows, Sink, Steps, holds, least, occurs

MOST_PROMPTS = 2
"""Times the bound on time steps of longer rows, where few others wait for each tick: many prompts at once are read
before much is written, so that the writing is done in full batches."""


@hot
class Turn:
    """What `next` decided: the rows to run, in order, and those whose deadline has passed.

    long: whether rows among them have more time steps than they may in one tick.
    """

    run: list[Steps]
    late: list[Steps]
    long: bool


class Waiting(NamedTuple):
    """A piece in the queue, and what every turn asks of it."""

    steps: Steps
    rows: int
    tokens: int  # as they count in one tick
    soonest: float  # its first deadline, seconds
    long: bool


class Scheduler:
    """Rows in order of arrival, cut into batches of at most `rows` rows and `tokens` time steps (one row at least).

    part: so many time steps of a row run in one tick at most, and no more of them count; None: rows are not cut.
    apart: rows of one time step do not count and never wait behind longer ones, so that those who go on step by step
    are not stalled by long prompts; `tokens` bounds the longer ones alone, and more of them where they are the most.
    equal_lengths: a batch holds rows of one length only, that of the oldest; the others wait for theirs to be oldest.

    Mutable state: `rows` and `tokens`; `_ready`, serial → piece in the order of the queue; `_serial_of` [sequences],
    the piece in which a sequence's row became ready last; `_parked`, sequence number → its further rows. Rows that
    leave a piece leave the serials of the others as they were, so that a row is found without a search of the queue.
    """

    def __init__(
        self,
        rows: int,
        tokens: int,
        sequences: int,
        *,
        part: int | None = None,
        apart: bool = False,
        equal_lengths: bool = False,
    ) -> None:
        self.rows, self.tokens = rows, tokens
        self._part, self._apart, self._equal_lengths = part, apart, equal_lengths
        self._mixed = not (apart or equal_lengths)  # all rows may share a piece
        self._ready: OrderedDict[int, Waiting] = OrderedDict()
        self._serials = 0
        self._serial_of = np.zeros(sequences, np.int64)
        self._parked = Parked()

    def __bool__(self) -> bool:
        """Whether any row is ready."""
        return bool(self._ready)

    def __repr__(self) -> str:
        return f"Scheduler(ready={self.ready_rows}, parked={len(self._parked)})"

    @property
    def ready_rows(self) -> int:
        """May be asked for from another thread: the queue is copied in one piece."""
        return sum(waiting.rows for waiting in tuple(self._ready.values()))

    def limit(self, rows: int, tokens: int, cost: Cost | None = None) -> None:
        """Other bounds from the next batch on; pieces that wait are cut as they are taken. cost: asks for nothing here,
        where rows go in order."""
        self.rows, self.tokens = rows, tokens

    def add(self, steps: Steps) -> None:
        """Rows of sequences that have none pending."""
        whole = self._mixed and 0 < len(steps.lengths) <= self.rows
        for piece in (steps,) if whole else self._in_batches(steps):
            self._serials += 1
            self._ready[self._serials] = self._waiting(piece)
            self._serial_of[piece.numbers] = self._serials  # stateless rows share a place that nobody looks at

    def _in_batches(self, steps: Steps) -> Iterator[Steps]:
        """Pieces of no more rows than a batch has: taking a row out of a piece copies the piece."""
        for piece in self._alike(steps):
            rest = piece
            while len(rest) > self.rows:
                batch, rest = rest.split(self.rows)
                yield batch
            if len(rest):
                yield rest

    def _alike(self, steps: Steps) -> list[Steps]:
        """Parts of rows that may share a piece."""
        if self._equal_lengths:
            return _by_length(steps)
        if not self._apart:
            return [steps]
        single = steps.lengths == 1
        if holds(single) or not occurs(single):
            return [steps]
        return [steps.take(single), steps.take(~single)]

    def park(self, steps: Steps) -> None:
        """Rows of different sequences that have rows pending."""
        self._parked.add(steps)

    def next(self, now: float, rows: int = 0, tokens: int = 0) -> Turn:
        """Takes rows until the batch is full; rows whose deadline is before `now` (seconds) are taken out as late.

        rows, tokens: what the batch holds already.
        """
        run: list[Steps] = []
        late: list[Steps] = []
        most = self._most(rows)
        free, room, long, full = self.rows - rows, max(most - tokens, 0), False, False
        for serial in self._candidates() if free > 0 else ():
            piece, rest = self._ready[serial], None
            if full and piece.tokens:
                continue
            if piece.soonest < now:
                piece = self._in_time(piece, now, late)
            if piece.rows > free or piece.tokens > room:
                first = room == most if self._apart else not run and not rows
                piece, rest = self._split(piece, free, room, first=first)
            if rest is None:
                del self._ready[serial]
            else:
                self._ready[serial], full = rest, True
            free, room = free - piece.rows, room - piece.tokens
            if piece.rows:
                run.append(piece.steps)
                long |= piece.long
            if not free or (full and not self._apart):
                break
        return Turn(run, late, long)

    def _most(self, rows: int) -> int:
        """Time steps in this batch: of longer rows, as many times more as these outnumber those of one time step."""
        if not self._apart:
            return self.tokens
        waiting = self._ready.values()
        single = sum(each.rows for each in waiting if not each.tokens)
        several = rows + sum(each.rows for each in waiting if each.tokens)
        return self.tokens * min(MOST_PROMPTS, max(1, several // max(single, 1)))

    def _candidates(self) -> Iterator[int]:
        """Serials of the pieces that may share a batch, oldest first; each leaves before the next is asked for."""
        if self._equal_lengths and self._ready:
            length = next(iter(self._ready.values())).steps.lengths[0]
            yield from [serial for serial, waiting in self._ready.items() if waiting.steps.lengths[0] == length]
            return
        if self._apart:
            yield from list(self._ready)
            return
        while self._ready:
            yield next(iter(self._ready))

    def settle(self, numbers: NDArray[np.integer]) -> None:
        """The running rows of these sequences are done: the next of each becomes ready. Those of a piece stay one."""
        for piece in self._parked.next(numbers):
            self.add(piece)

    def withdraw_parked(self, number: int) -> list[Steps]:
        """Takes out what is parked behind a row that failed."""
        return self._parked.withdraw(number)

    def withdraw(self, number: int) -> list[Steps]:
        """Takes out all rows of a sequence, ready and parked, in order."""
        return [*self._take_ready(number), *self.withdraw_parked(number)]

    def withdraw_from(self, number: int, position: int) -> list[Steps]:
        """Takes out the step that begins at `position` and those behind it, in order; nothing if none waits there."""
        if behind := self._parked.withdraw_from(number, position):
            return behind
        ready = self._find_ready(number)
        return self.withdraw(number) if ready is not None and position_of(ready) == position else []

    def withdraw_of(self, sink: Sink, keys: frozenset[int] | None = None) -> list[Steps]:
        """Takes out the ready rows of a caller that is gone; with `keys`, those rows alone."""
        held = [(serial, waiting.steps) for serial, waiting in self._ready.items() if waiting.steps.sink is sink]
        if keys is None:
            return [self._ready.pop(serial).steps for serial, _ in held]
        return [gone for serial, steps in held if len(gone := self._take_keys(serial, steps, keys))]

    def withdraw_all(self) -> list[Steps]:
        """Takes out every row."""
        everything = [*(waiting.steps for waiting in self._ready.values()), *self._parked.withdraw_all()]
        self._ready.clear()
        return everything

    def parked_of(self, sink: Sink, keys: frozenset[int] | None = None) -> list[tuple[int, int]]:
        """Sequence and position of each parked row of a caller, foremost first; with `keys`, of those rows alone."""
        return self._parked.of(sink, keys)

    def _take_keys(self, serial: int, steps: Steps, keys: frozenset[int]) -> Steps:
        gone = np.isin(steps.keys, list(keys))
        if gone.all():
            del self._ready[serial]
        elif gone.any():
            self._ready[serial] = self._waiting(steps.take(~gone))
        return steps.take(gone)

    def _find_ready(self, number: int) -> Row | None:
        waiting = self._ready.get(int(self._serial_of[number]))
        if waiting is None:
            return None
        rows = np.flatnonzero(waiting.steps.numbers == number)
        return (waiting.steps, int(rows[0])) if len(rows) else None

    def _take_ready(self, number: int) -> list[Steps]:
        found = self._find_ready(number)
        if found is None:
            return []
        serial, others = int(self._serial_of[number]), found[0].take(found[0].numbers != number)
        if len(others):
            self._ready[serial] = self._waiting(others)
        else:
            del self._ready[serial]
        return [alone(found)]

    def _waiting(self, steps: Steps) -> Waiting:
        rows, tokens = len(steps.lengths), steps.tokens
        soonest = least(steps.deadlines) if rows else np.inf
        counted = tokens if tokens == rows else int(np.add.reduce(self._counted(steps.lengths)))
        long = counted < tokens
        return Waiting(steps, rows, 0 if self._apart and tokens == rows else counted, soonest, long)

    def _counted(self, lengths: Rows) -> Rows:
        return lengths if self._part is None else np.minimum(lengths, self._part)

    def _in_time(self, waiting: Waiting, now: float, late: list[Steps]) -> Waiting:
        """The rows whose deadline is not over; the others, some at least, go to `late`."""
        in_time = waiting.steps.deadlines >= now
        late.append(waiting.steps.take(~in_time))
        return self._waiting(waiting.steps.take(in_time))

    def _split(self, waiting: Waiting, rows: int, tokens: int, *, first: bool) -> tuple[Waiting, Waiting | None]:
        """What fits of a piece that is too large, of the batch's first one row at least; and the rest, if any."""
        counted = self._counted(waiting.steps.lengths) if waiting.tokens else np.zeros(waiting.rows, np.int64)
        fit = int(np.searchsorted(np.cumsum(counted), tokens, side="right"))
        fit = min(rows, max(fit, 1) if first else fit)
        if fit == waiting.rows:
            return waiting, None
        piece, rest = waiting.steps.split(fit)
        return self._waiting(piece), self._waiting(rest)


def _by_length(steps: Steps) -> list[Steps]:
    """Pieces of rows of one length each, by the first row of each."""
    lengths, first = np.unique(steps.lengths, return_index=True)
    return [steps.take(steps.lengths == length) for length in lengths[np.argsort(first)]]
