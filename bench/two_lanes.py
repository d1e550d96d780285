"""Two lanes of one thread each, as the server has, or one lane whose runtime has two: which serves more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from threading import Thread

import numpy as np

from .figures import Figure
from .site import Site
from .stateless import Hand, Limits

#: Sequences for a second of a turn, and the most time steps of one.
SEQUENCES, LONGEST = 48, 128

Rates = tuple[float, float]
"""Sequences a second: of two lanes, and of one."""


def rate(hands: Sequence[Hand], sequences: int) -> float:
    """Sequences a second by the wall clock, shared among these lanes, each on a thread."""
    lengths = np.random.default_rng(1).integers(1, LONGEST + 1, sequences)
    threads = [
        Thread(target=hand.drain, args=(part,))
        for hand, part in zip(hands, np.array_split(lengths, len(hands)), strict=True)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sequences / (time.perf_counter() - began)


def two_lanes(site: Site, file: Path, limits: Limits) -> list[Figure]:
    """On all cores: on a machine with one, or a busy one, it tells nothing."""
    two, one = [Hand.of(file, limits), Hand.of(file, limits)], [Hand.of(file, limits, threads=2)]
    sequences = max(8, 2 * round(SEQUENCES * site.seconds / 2))

    def rates(count: int) -> Rates:
        return rate(two, count), rate(one, count)

    rates(4)
    return [figure([rates(sequences) for _ in range(site.rounds)])]


def figure(rounds: Sequence[Rates]) -> Figure:
    two, one = (median(column) for column in zip(*rounds, strict=True))
    note = f"{two:.0f} and {one:.0f} sequences/s by the wall clock"
    return Figure("two lanes of one thread against one of two", median(a / b for a, b in rounds), "x", note=note)
