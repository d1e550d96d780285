"""Which rows run next. Plain data: no clock, no threads, no transport; it never looks into the values.

Of each sequence at most one row is ready; the others are parked behind it, in order, and step up when it is settled.
So a batch never holds a sequence twice, and no sequence can crowd out another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .steps import Sink, Steps


@dataclass(frozen=True, slots=True)
class Turn:
    """What `next` decided: the rows to run, in order, and those whose deadline has passed."""

    run: list[Steps]
    late: list[Steps]


class Scheduler:
    """Rows in order of arrival, cut into batches of at most `rows` rows and `tokens` time steps (one row at least).

    Mutable state: `_ready`, a queue of pieces, and `_parked`, sequence number → its further rows, one by one.
    """

    def __init__(self, rows: int, tokens: int) -> None:
        self._rows, self._tokens = rows, tokens
        self._ready: deque[Steps] = deque()
        self._parked: dict[int, deque[Steps]] = {}

    def __bool__(self) -> bool:
        """Whether any row is ready."""
        return bool(self._ready)

    def __repr__(self) -> str:
        return f"Scheduler(ready={self.ready_rows}, parked={sum(map(len, self._parked.values()))})"

    @property
    def ready_rows(self) -> int:
        return sum(map(len, self._ready))

    @property
    def oldest(self) -> float | None:
        """Arrival of the row at the head of the queue, in seconds."""
        return self._ready[0].arrived if self._ready else None

    def add(self, steps: Steps) -> None:
        """Rows of sequences that have none pending."""
        if len(steps):
            self._ready.append(steps)

    def park(self, step: Steps) -> None:
        """One row of a sequence that has rows pending."""
        self._parked.setdefault(int(step.numbers[0]), deque()).append(step)

    def next(self, now: float) -> Turn:
        """Takes rows until the batch is full; rows whose deadline is before `now` (seconds) are taken out as late."""
        turn, rows, tokens = Turn([], []), self._rows, self._tokens
        while self._ready and rows:
            piece = self._in_time(self._ready.popleft(), now, turn.late)
            fit = self._fitting(piece, rows, tokens, first=not turn.run)
            if fit < len(piece):
                piece, rest = piece.split(fit)
                self._ready.appendleft(rest)
                rows = len(piece)  # the batch is full
            if len(piece):
                turn.run.append(piece)
                tokens -= int(piece.lengths.sum())
            rows -= len(piece)
        return turn

    def settle(self, numbers: NDArray[np.int32]) -> None:
        """The running rows of these sequences are done: the next of each becomes ready."""
        if not self._parked:
            return
        for number in numbers.tolist():
            if parked := self._parked.get(number):
                self._ready.append(parked.popleft())
                if not parked:
                    del self._parked[number]

    def requeue(self, steps: list[Steps]) -> None:
        """Puts rows of one sequence, one each and in order, back where `withdraw` took them."""
        for step in steps[:1]:
            self.add(step)
        for step in steps[1:]:
            self.park(step)

    def withdraw_parked(self, number: int) -> list[Steps]:
        """Takes out what is parked behind a row that failed."""
        return list(self._parked.pop(number, ()))

    def withdraw(self, number: int) -> list[Steps]:
        """Takes out all rows of a sequence, ready and parked, in order."""
        return [*self._take_ready(number), *self.withdraw_parked(number)]

    def withdraw_of(self, sink: Sink) -> list[Steps]:
        """Takes out the ready rows of a caller that is gone."""
        gone = [piece for piece in self._ready if piece.sink is sink]
        self._ready = deque(piece for piece in self._ready if piece.sink is not sink)
        return gone

    def parked_of(self, sink: Sink) -> list[tuple[int, int]]:
        """Sequence and position of each parked row of a caller, foremost first."""
        rows = (step for parked in self._parked.values() for step in parked if step.sink is sink)
        return [(int(step.numbers[0]), int(step.positions[0])) for step in rows]

    def find(self, number: int, position: int) -> bool:
        """Whether the step of that sequence which begins at `position` still waits here."""
        waiting: Iterable[Steps] = (*self._ready, *self._parked.get(number, ()))
        return any(bool(((p.numbers == number) & (p.positions == position)).any()) for p in waiting)

    def _take_ready(self, number: int) -> list[Steps]:
        for at, piece in enumerate(self._ready):
            mine = piece.numbers == number
            if mine.any():
                others = piece.take(~mine)
                self._ready[at] = others
                if not len(others):
                    del self._ready[at]
                return [piece.take(mine)]
        return []

    @staticmethod
    def _in_time(piece: Steps, now: float, late: list[Steps]) -> Steps:
        """The rows whose deadline is not over; the others go to `late`."""
        in_time = piece.deadlines >= now
        if in_time.all():
            return piece
        late.append(piece.take(~in_time))
        return piece.take(in_time)

    @staticmethod
    def _fitting(piece: Steps, rows: int, tokens: int, *, first: bool) -> int:
        """How many of the piece's rows fit; if it is the batch's first, one at least."""
        fit = int(np.searchsorted(np.cumsum(piece.lengths), tokens, side="right"))
        return min(rows, max(fit, 1) if first else fit)
