"""Which rows of a model without states run next: the oldest, and with it those whose lengths are most like its own.

Plain data as `scheduler.py`, which serves models with states: no clock, no threads, no transport.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.spec import ModelSpec

from .cost import Cost
from .likeness import Chosen, all_alike, foremost, window
from .limits import Limits
from .pool import LENGTH, PASSED, Pool
from .scheduler import Turn
from .steps import Rows, Sink, Steps

#: Batches are made of the oldest rows that would fill so many: enough to find like ones among them.
REACH = 8

#: Batches that may pass a row over, taking younger ones; with the next it goes. Most go after about REACH of them, and
#: where many were bound to go they would not be alike.
PATIENCE = 32

#: What the last batch counts in the time that one takes.
SMOOTHING = 0.2


def suits(spec: ModelSpec) -> bool:
    """Whether rows of the model may go in any order, and share a batch whatever their lengths."""
    return not spec.stateful and not spec.chunk.equal_lengths


class Similar:
    """Batches of at most `rows` rows and `tokens` time steps (one row at least), each with the oldest row that waits.

    It is filled with rows of like length, by what a batch costs. Rows that cannot wait, since a deadline would pass or
    too many batches have passed them over, go before those that fit better, unless they would make it twice as dear.

    Mutable: `rows`, `tokens`, `cost`; the pool of rows that wait; `_seconds` that a batch takes, 0 before any has been
    seen, and `_began`, when the running one was decided, None if nobody waits for its end.
    """

    def __init__(self, rows: int, tokens: int, cost: Cost) -> None:
        self.rows, self.tokens, self.cost = rows, tokens, cost
        self._pool = Pool()
        self._seconds = 0.0
        self._began: float | None = None

    @classmethod
    def of(cls, limits: Limits) -> Similar:
        return cls(limits.rows, limits.tokens, limits.cost)

    def __bool__(self) -> bool:
        """Whether any row is ready."""
        return bool(self._pool)

    def __repr__(self) -> str:
        return f"Similar(ready={self.ready_rows})"

    @property
    def ready_rows(self) -> int:
        """May be asked for from another thread."""
        return len(self._pool)

    def limit(self, rows: int, tokens: int, cost: Cost | None = None) -> None:
        """Other bounds, and a cost if one is given, from the next batch on."""
        self.rows, self.tokens, self.cost = rows, tokens, cost or self.cost

    def add(self, steps: Steps) -> None:
        self._pool.add(steps)

    def next(self, now: float, rows: int = 0, tokens: int = 0) -> Turn:
        """Takes a batch; rows whose deadline is before `now` (seconds) are taken out as late.

        rows, tokens: what the batch holds already.
        """
        self._time(now)
        late, run = self._pool.late(now), list[Steps]()
        if self._pool and rows < self.rows:
            run = self._take(now, self.rows - rows, self.tokens - tokens)
        self._began = now if self._pool else None
        return Turn(run, late, long=False)

    def withdraw_of(self, sink: Sink, keys: frozenset[int] | None = None) -> list[Steps]:
        """Takes out the rows of a caller that is gone; with `keys`, those rows alone."""
        return self._pool.take_of(lambda piece: piece.sink is sink, keys)

    def withdraw_all(self) -> list[Steps]:
        """Takes out every row."""
        return self._pool.take_of(lambda piece: True)

    # What is asked of a model with states: here no row is of a sequence, and none is parked behind another.

    def park(self, steps: Steps) -> None:
        raise ValueError("rows without a sequence have none to wait for")

    def settle(self, numbers: NDArray[np.integer]) -> None:
        """Nothing waited for these rows."""

    def withdraw(self, number: int) -> list[Steps]:
        return []

    def withdraw_from(self, number: int, position: int) -> list[Steps]:
        return []

    def withdraw_parked(self, number: int) -> list[Steps]:
        return []

    def parked_of(self, sink: Sink, keys: frozenset[int] | None = None) -> list[tuple[int, int]]:
        return []

    def _time(self, now: float) -> None:
        """While rows wait, the next batch is asked for when the last is done."""
        if self._began is not None:
            took = now - self._began
            self._seconds += (took - self._seconds) * (SMOOTHING if self._seconds else 1.0)

    def _take(self, now: float, rows: int, tokens: int) -> list[Steps]:
        """The best batch of the rows that are near the head of the queue, or whose deadlines are."""
        near = _within(self._pool.column(LENGTH, REACH * rows), REACH * tokens)
        lengths, passed = self._pool.column(LENGTH), self._pool.column(PASSED, near)
        bound, places = passed >= PATIENCE, np.arange(near)
        # A row that is left now begins after this batch: it cannot wait if it would not end with the one after.
        urgent = self._pool.urgent(now + 2 * self._seconds)[: REACH * rows]
        if len(urgent):
            places = np.union1d(places, urgent)
            bound = np.isin(places, urgent) | np.append(bound, np.ones(len(places) - near, np.bool_))
        chosen = places[self._choose(lengths[places], bound, rows, tokens)]
        passed[: chosen[-1]] += 1  # those that go count no more
        return self._pool.take(chosen)

    def _choose(self, lengths: Rows, bound: NDArray[np.bool_], rows: int, tokens: int) -> Rows:
        """Which rows go, ascending. lengths, bound [rows]: oldest first, and which of them cannot wait."""
        if len(lengths) <= rows and lengths.sum() <= tokens and all_alike(self.cost, lengths):
            return np.arange(len(lengths))
        bound[0] = True
        first = bound.nonzero()[0]
        first = first[: foremost(self.cost, lengths[first], rows, tokens)]
        chosen = Chosen.of(lengths[first])
        bound[:] = True
        bound[first] = False
        others = bound.nonzero()[0]
        others = others[_by_length(lengths[others], chosen.longest)]
        goes = ~bound
        goes[others[window(self.cost, lengths[others], chosen, rows, tokens)]] = True
        return goes.nonzero()[0]


def _within(lengths: Rows, tokens: int) -> int:
    """How many of the first of these rows, one at least, have no more time steps than so many."""
    return max(1, int(lengths.cumsum().searchsorted(tokens, side="right")))


def _by_length(lengths: Rows, middle: int) -> Rows:
    """The order [rows] of ascending lengths; of equal ones the older is nearer to the middle, so that it goes first."""
    age = np.arange(len(lengths))
    order: Rows = np.lexsort((np.where(lengths < middle, -age, age), lengths))
    return order
