"""From measured ticks to limits. Plain arithmetic.

A larger batch costs less for each row, until it does not: behind the knee of that curve only the waiting grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

Curve = tuple[tuple[int, float], ...]
"""(rows or time steps, CPU seconds of a tick with so many), fewest first."""

#: A row may cost so much more than in the best batch: batches twice as large for less than that are not worth waiting.
TOLERANCE = 0.03

#: No batch may take longer, in seconds: steps that come meanwhile wait for all of it.
LONGEST_TICK = 0.05

#: Ticks of one size behind each other: after those of another the caches are cold.
IN_A_ROW = 3

#: More than these the event loop, which is one thread, does not feed.
MOST_LANES = 8


def measure(tick: Callable[[int], float], sizes: Iterable[int], budget: float) -> Curve:
    """Ticks of each size (rows or time steps), in turns, until they took the budget (CPU seconds); of each the fastest.

    In turns, so that what disturbs for a while disturbs all; the fastest, since a disturbance only ever adds. No size
    beyond the first whose tick is too long is tried.
    """
    best: dict[int, float] = {}
    for size in sizes:
        best[size] = tick(size)
        if best[size] > LONGEST_TICK:
            break
    spent = sum(best.values())
    while True:
        for size in best:
            took = [tick(size) for _ in range(IN_A_ROW)]
            best[size], spent = min(best[size], *took), spent + sum(took)
        if spent > budget:
            return tuple(best.items())


def knee(curve: Curve) -> int:
    """The fewest rows whose tick costs, for each row, nearly as little as the best's; of those that are quick enough.

    Where even the fewest take longer, it is these. The same of time steps, where the curve is of them.
    """
    quick = [(rows, seconds / rows) for rows, seconds in curve if seconds <= LONGEST_TICK]
    if not quick:
        return curve[0][0]
    best = min(cost for _, cost in quick)
    return next(rows for rows, cost in quick if cost <= best * (1 + TOLERANCE))


class Line(NamedTuple):
    """A tick's cost up to the knee: step, the seconds of each time step; call, what comes to them, in time steps."""

    step: float
    call: float

    @classmethod
    def through(cls, curve: Curve) -> Line:
        """By the smallest batch and the knee; a call is worth a time step at least."""
        (few, little), (many, much) = curve[0], next(point for point in curve if point[0] == knee(curve))
        if few == many:
            return cls(little / (few + 1), 1.0)
        step = max(much - little, much / 2) / (many - few)  # where a disturbance bent the curve, some of it is slope
        return cls(step, max(1.0, little / step - few))


def lanes_fed(share: float) -> int:
    """How many lanes one interpreter can keep busy.

    share: the part of a tick's CPU time outside the runtime, 0 to 1; only one thread can be there at a time, and the
    event loop is there for about as long for each row as its lane.
    """
    return max(1, min(MOST_LANES, int(1 / (2 * share)) if share > 0 else MOST_LANES))
