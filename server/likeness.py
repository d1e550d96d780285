"""Which rows go together. Plain arithmetic on lengths: all rows of a batch are padded to its longest, so those of like
length go together; but where padding costs less than another call would, it is worth it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cost import Cost
from .steps import Rows

#: A batch of rows that must go costs at most so many times what they would cost in batches of their like: beyond that,
#: one batch after the other answers even the last of them sooner.
DEAREST = 2.0


class Chosen(NamedTuple):
    """Of the rows that go in any case: how many they are, the sums of their lengths and of the squares, the longest."""

    rows: int
    tokens: int
    squares: int
    longest: int

    @classmethod
    def of(cls, lengths: Rows) -> Chosen:
        if len(lengths) == 1:
            return cls(1, int(lengths[0]), int(lengths[0]) ** 2, int(lengths[0]))
        return cls(len(lengths), int(lengths.sum()), int((lengths**2).sum()), int(lengths.max()))


def all_alike(cost: Cost, lengths: Rows) -> bool:
    """Whether to part these rows would cost another call for less padding than that."""
    all_of_them = Chosen.of(lengths)
    padding = all_of_them.rows * all_of_them.longest**2 - all_of_them.squares
    return cost.cell * padding <= cost.call


def foremost(cost: Cost, lengths: Rows, rows: int, tokens: int) -> int:
    """How many rows from the first on go into a batch together: as many as the bounds allow, and DEAREST; one at least.

    lengths [rows], in the order in which they must go.
    """
    if len(lengths) == 1:
        return 1
    counts = np.arange(1, len(lengths) + 1)
    sums, squares, longest = np.cumsum(lengths), np.cumsum(lengths**2), np.maximum.accumulate(lengths)
    dear = cost.of(counts, sums, longest) > DEAREST * (cost.call + cost.own(sums, squares))
    over = np.flatnonzero((counts > rows) | (sums > tokens) | dear)
    return max(1, int(over[0])) if len(over) else len(lengths)


def window(cost: Cost, lengths: Rows, chosen: Chosen, rows: int, tokens: int) -> slice:
    """Which rows join the chosen ones: the most work that is within the bounds and pads no more than a call is worth.

    lengths [n], ascending. Those that join are next to the longest of the chosen ones.
    """
    at = int(lengths.searchsorted(chosen.longest))
    sums, squares = _sums(lengths), _sums(lengths**2)
    free, room = rows - chosen.rows, tokens - chosen.tokens
    if free <= 0 or room <= 0:
        return slice(at, at)
    low = max(at - free, int(sums.searchsorted(sums[at] - room)), 0)
    high = min(at + free, int(sums.searchsorted(sums[at] + room, side="right")) - 1)
    ends = np.arange(at, high + 1)
    longest = np.empty(len(ends), np.int64)  # of the batch that ends there
    longest[0], longest[1:] = chosen.longest, lengths[at:high]

    def fits(begins: Rows) -> NDArray[np.bool_]:
        """[ends] whether the rows from each begin to its end may join."""
        count, total = ends - begins, sums[ends] - sums[begins]
        padding = (count + chosen.rows) * longest**2 - squares[ends] + squares[begins] - chosen.rows * chosen.longest**2
        allowed: NDArray[np.bool_] = (count <= free) & (total <= room) & (cost.cell * padding <= cost.call)
        return allowed

    begins = _first(fits, np.full(len(ends), low), np.full(len(ends), at))
    work = np.where(fits(begins), cost.own(sums[ends] - sums[begins], squares[ends] - squares[begins]), -1.0)
    best = int(work.argmax())
    return slice(int(begins[best]), int(ends[best])) if work[best] >= 0 else slice(at, at)


def _first(holds: Callable[[Rows], NDArray[np.bool_]], low: Rows, high: Rows) -> Rows:
    """[n] the lowest numbers for which it holds, by halving; `high` where it holds for none. It holds above such."""
    for _ in range(int(high[0] - low[0]).bit_length()):  # all begin with the same two
        middle = (low + high) // 2
        found = holds(middle)
        low, high = np.where(found, low, middle + 1), np.where(found, middle, high)
        low = np.minimum(low, high)
    return high


def _sums(numbers: Rows) -> Rows:
    """[n + 1] of the first 0, 1, … n of them."""
    sums = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(numbers, out=sums[1:])
    return sums
