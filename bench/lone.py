"""One lone sequence, one step: how long, against the echo's round trip and the runtime's own run of one row."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from .figures import Figure
from .load import frames
from .site import Site

MOST = 1.3

Round = tuple[float, float, float]


def lone(site: Site) -> list[Figure]:
    bare = site.bare()
    with site.server() as server, site.echo() as echo:

        def one_round() -> Round:
            seconds = site.seconds / 2
            ours, trip = (
                site.load(frames(each.address, bare.spec, rows=1, connections=1, seconds=seconds)).percentile(50)
                for each in (server, echo)
            )
            return ours, trip, float(np.median(bare.runs(1, seconds).times))

        return figures(site.repeat(one_round))


def figures(rounds: Sequence[Round]) -> list[Figure]:
    """rounds: seconds of the server, the echo, the bare run."""
    ours, trip, run = (1e6 * median(column) for column in zip(*rounds, strict=True))
    return [
        Figure(
            "one lone sequence, one step, p50",
            median(a / (b + c) for a, b, c in rounds),
            "x echo + bare",
            MOST,
            note=f"{ours:.0f} µs; echo {trip:.0f} + bare run {run:.0f}",
        )
    ]
