"""Frames of 64 and of 256 rows: steps a second as a share of what the runtime alone does, and what the rest costs.

Connections, each with its own sequences, send their next frame when the last is answered: eight of them, so that the
server always has something to do. An echo of the same frames says what of the cost is the transport's: as fast as it
can, and at the server's own rate, where it wakes up as often as the server does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from headrace.spec import ModelSpec

from .bare import Runs
from .figures import Figure
from .load import Cost, cost, paced_cost
from .server import Running
from .site import BATCH, Site

CONNECTIONS = 8

#: Rows in a frame → the least share of the bare runtime's rate.
LEAST = {64: 0.80, 256: 0.88}
MOST_OUTSIDE = 1.5

#: On a quiet machine the bare runtime has its core to itself.
QUIET = 0.97


@dataclass(frozen=True, slots=True)
class Round:
    bare: Runs
    server: Cost
    echo: Cost
    paced: Cost


def speed(site: Site) -> list[Figure]:
    bare = site.bare()
    batch = site.best(bare)
    with site.server() as server, site.echo() as echo:

        def one(rows: int) -> Round:
            return _round(site, server, echo, bare.spec, rows, bare.runs(batch, site.seconds))

        return [f for rows in LEAST for f in figures(rows, site.repeat(partial(one, rows)))]


def _round(site: Site, server: Running, echo: Running, spec: ModelSpec, rows: int, limit: Runs) -> Round:
    def through(running: Running) -> Cost:
        return site.load(cost(running, spec, rows=rows, connections=CONNECTIONS, seconds=site.seconds))

    ours = through(server)
    same = {"rows": rows, "connections": CONNECTIONS, "together": BATCH // rows}
    paced = site.load(paced_cost(echo, spec, **same, seconds=site.seconds, rate=ours.load.rate))
    return Round(limit, ours, through(echo), paced)


def figures(rows: int, rounds: Sequence[Round]) -> list[Figure]:
    """The share, the same by CPU time, and the cost beside the runtime, of frames of so many rows."""
    return [_share(rows, rounds), _by_cpu(rows, rounds), _outside(rows, rounds), _at_its_rate(rows, rounds)]


def _share(rows: int, rounds: Sequence[Round]) -> Figure:
    share = median(r.server.load.rate / r.bare.rate for r in rounds)
    rate, limit = median(r.server.load.rate for r in rounds), median(r.bare.rate for r in rounds)
    p50, p99 = (1e3 * median(r.server.load.percentile(q) for r in rounds) for q in (50, 99))
    note = f"{rate:,.0f} of {limit:,.0f} at batch {rounds[0].bare.rows}; p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    if (alone := median(r.bare.share for r in rounds)) < QUIET:
        note += f"; not to be believed: the bare runtime had {alone:.0%} of its core"
    return Figure(f"steps/s, frames of {rows}", share, "of bare", LEAST[rows], at_least=True, note=note)


def _by_cpu(rows: int, rounds: Sequence[Round]) -> Figure:
    share = median(r.bare.row_cpu / r.server.cpu for r in rounds)
    note = f"{1e6 * median(r.server.cpu for r in rounds):.1f} µs a step"
    return Figure(f"the same by CPU time, frames of {rows}", share, "of bare", note=note)


def _outside(rows: int, rounds: Sequence[Round]) -> Figure:
    ratio = median(r.server.outside / r.echo.cpu for r in rounds)
    own = 1e6 * rows * median(r.server.outside for r in rounds)
    echo = 1e6 * rows * median(r.echo.cpu for r in rounds)
    note = f"{own:.0f} µs a frame, the echo {echo:.0f}"
    return Figure(f"CPU outside the runtime, frames of {rows}", ratio, "x echo", MOST_OUTSIDE, note=note)


def _at_its_rate(rows: int, rounds: Sequence[Round]) -> Figure:
    ratio = median(r.server.outside / r.paced.cpu for r in rounds)
    note = f"the echo {1e6 * rows * median(r.paced.cpu for r in rounds):.0f} µs a frame, as many frames a second"
    return Figure(f"the same, the echo at the server's rate, frames of {rows}", ratio, "x echo", note=note)
