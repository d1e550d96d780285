"""One long request among short ones: how long the short ones wait for it, on one lane.

Time is CPU time: a tick moves the clock by what it took, so that whatever else the machine does is not seen. The same
short ones come at the same moments with the long ones and without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .figures import Figure
from .site import Site
from .stateless import Hand, Limits, Rows

#: Time steps: short ones have from 1 to so many, each long one has as many as that.
SHORT, LONG = 16, 512

#: What of the lane's time the short ones take, and seconds from one long one to the next.
LOAD, APART = 0.4, 2.0

#: Of the clock, for each second of a turn; it runs only while something is computed.
SECONDS = 4.0

MOST = 1.0


class Request(NamedTuple):
    """arrives: seconds; length: time steps."""

    arrives: float
    length: int


class Waits(NamedTuple):
    """p99 of the short ones in seconds, without the long ones and with them; batch: seconds of the long one's tick."""

    without: float
    beside: float
    batch: float


def short_ones(rate: float, seconds: float) -> list[Request]:
    """So many a second, at random moments."""
    rng = np.random.default_rng(0)
    moments = np.cumsum(rng.exponential(1 / rate, round(rate * seconds)))
    lengths = rng.integers(1, SHORT + 1, len(moments))
    return [Request(*each) for each in zip(moments.tolist(), lengths.tolist(), strict=True)]


def long_ones(seconds: float) -> list[Request]:
    return [Request(moment, LONG) for moment in np.arange(APART / 2, seconds, APART).tolist()]


def served(hand: Hand, requests: Sequence[Request]) -> tuple[NDArray[np.float64], float]:
    """[requests] seconds from each one's arrival to its answer, and those of the longest tick."""
    answered, longest = np.full(len(requests), np.nan), 0.0
    began = hand.clock.now
    coming = _frames(requests)
    due, frame = next(coming)
    while np.isnan(answered).any():
        if not hand.busy:
            hand.clock.now = max(hand.clock.now, began + due)
        while began + due <= hand.clock.now:
            hand.post(np.array([frame]), np.array([requests[frame].length]))
            due, frame = next(coming, (np.inf, -1))
        took = hand.tick()
        hand.clock.now, longest = hand.clock.now + took, max(longest, took)
        answered[hand.told] = hand.clock.now - began
    return answered - [request.arrives for request in requests], longest


def _frames(requests: Sequence[Request]) -> Iterator[tuple[float, int]]:
    """When which comes, one after the other."""
    order = np.argsort([request.arrives for request in requests], kind="stable").tolist()
    return ((requests[at].arrives, at) for at in order)


def waits(hand: Hand, rate: float, seconds: float) -> Waits:
    short = short_ones(rate, seconds)
    alone, _ = served(hand, short)
    beside, batch = served(hand, [*short, *long_ones(seconds)])
    return Waits(float(np.percentile(alone, 99)), float(np.percentile(beside[: len(short)], 99)), batch)


def pace(hand: Hand) -> float:
    """Short ones a second that keep the lane busy."""
    lengths: Rows = np.tile(np.arange(1, SHORT + 1), 4)
    return len(lengths) / min(hand.drain(lengths) for _ in range(3))


def one_long(site: Site, file: Path, limits: Limits) -> list[Figure]:
    hand = Hand.of(file, limits)
    rate = LOAD * pace(hand)
    return [figure(site.repeat(partial(waits, hand, rate, SECONDS * site.seconds)), rate)]


def figure(rounds: Sequence[Waits], rate: float) -> Figure:
    without, beside, batch = (1e3 * median(column) for column in zip(*rounds, strict=True))
    return Figure(
        f"p99 of requests of 1 to {SHORT} time steps, that one of {LONG} raises",
        median((r.beside - r.without) / r.batch for r in rounds),
        "batches",
        MOST,
        note=f"{without:.1f} ms without, {beside:.1f} ms with one every {APART:.0f} s, whose batch takes {batch:.1f}; "
        f"{rate:.0f} short ones/s, {LOAD:.0%} of the lane",
    )
