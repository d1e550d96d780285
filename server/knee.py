"""From measured ticks to limits. Plain arithmetic.

A larger batch costs less for each row, until it does not: behind the knee of that curve only the waiting grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Curve = tuple[tuple[int, float], ...]
"""(rows, CPU seconds of a tick with so many), fewest rows first."""

#: A row may cost so much more than in the best batch: batches twice as large for less than that are not worth waiting.
TOLERANCE = 0.03

#: No batch may take longer, in seconds: steps that come meanwhile wait for all of it.
LONGEST_TICK = 0.05

#: Ticks of one size behind each other: after those of another the caches are cold.
IN_A_ROW = 3

#: More than these the event loop, which is one thread, does not feed.
MOST_LANES = 8


def measure(tick: Callable[[int], float], sizes: Iterable[int], budget: float) -> Curve:
    """Ticks of each size (rows), in turns, until their CPU time (seconds) exceeds the budget; of each the fastest.

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

    Where even a single row takes longer, it is one.
    """
    quick = [(rows, seconds / rows) for rows, seconds in curve if seconds <= LONGEST_TICK]
    if not quick:
        return curve[0][0]
    best = min(cost for _, cost in quick)
    return next(rows for rows, cost in quick if cost <= best * (1 + TOLERANCE))


def lanes_fed(share: float) -> int:
    """How many lanes one interpreter can keep busy.

    share: the part of a tick's CPU time outside the runtime, 0 to 1; only one thread can be there at a time, and the
    event loop is there for about as long for each row as its lane.
    """
    return max(1, min(MOST_LANES, int(1 / (2 * share)) if share > 0 else MOST_LANES))
