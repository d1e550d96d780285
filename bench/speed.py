"""Steps a second through the server, as a share of what the runtime alone does: both in turn, in one run, median of 5.

The server has one lane on one core, the load generator another core; the runtime alone runs on the server's core.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .bare import Bare
from .figures import Figure
from .load import frames
from .reference import reference
from .server import serving

ROUNDS, SECONDS = 5, 2.0
FRAMES = (64, 256)
LEAST = {64: 0.80, 256: 0.88}
CONNECTIONS = 2


@dataclass(frozen=True, slots=True)
class Row:
    """rate, bare: steps a second, medians; share: the median of the rounds' ratios."""

    frame_rows: int
    rate: float
    bare: float
    bare_batch: int
    share: float
    p50_ms: float
    p99_ms: float


def speed(results: Path) -> list[Figure]:
    """The shares at each size of frame."""
    file = reference(results / "models")
    return [_share(_measure(file, rows)) for rows in FRAMES]


def _share(row: Row) -> Figure:
    note = f"{row.rate:,.0f} of {row.bare:,.0f} steps/s; p50 {row.p50_ms:.1f} ms, p99 {row.p99_ms:.1f} ms"
    return Figure(f"steps/s in frames of {row.frame_rows}", row.share, "of bare", LEAST[row.frame_rows], True, note)


def _measure(file: Path, rows: int) -> Row:
    bare, models = Bare(file), file.parents[2]
    server_core, load_core = _cores()
    with pinned(server_core):
        batch, _ = bare.best(SECONDS / 4)
    rounds = []
    with (
        pinned(server_core),
        serving(models, ["--batch-rows", str(min(rows, 128))], log=models.parent / "server.log") as server,
    ):
        for _ in range(ROUNDS):
            limit = bare.rate(batch, SECONDS)
            with pinned(load_core):
                load = asyncio.run(
                    frames(server.address, bare.spec, rows=rows, connections=CONNECTIONS, seconds=SECONDS)
                )
            rounds.append((load.rate / limit, load, limit))
    loads = [load for _, load, _ in rounds]
    return Row(
        rows,
        median(load.rate for load in loads),
        median(limit for _, _, limit in rounds),
        batch,
        median(share for share, _, _ in rounds),
        median(load.percentile(50) for load in loads) * 1e3,
        median(load.percentile(99) for load in loads) * 1e3,
    )


def _cores() -> tuple[set[int], set[int]]:
    """One for the server and one for its load; the same, where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, {cores[-1]}


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """This thread, and processes that it starts meanwhile, run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
