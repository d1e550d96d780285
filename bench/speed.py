"""Steps a second through the server, as a share of what the runtime alone does: both in turn, in one run, median of 5.

The server has one lane on one core, the load generator another core; the runtime alone runs on the server's core.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from .bare import Bare
from .load import frames
from .reference import reference
from .server import serving

ROUNDS, SECONDS = 5, 2.0
FRAMES = (64, 256)
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


def speed(results: Path) -> list[Row]:
    """Measures, prints a table and writes `results/speed.json`."""
    file = reference(results / "models")
    rows = [_measure(file, rows) for rows in FRAMES]
    (results / "speed.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    table = Table("rows in a frame", "steps/s", "bare ONNX Runtime", "its batch", "share", "p50 ms", "p99 ms", box=None)
    for r in rows:
        table.add_row(
            str(r.frame_rows),
            f"{r.rate:,.0f}",
            f"{r.bare:,.0f}",
            str(r.bare_batch),
            f"{r.share:.2f}",
            f"{r.p50_ms:.1f}",
            f"{r.p99_ms:.1f}",
        )
    Console().print(table)
    return rows


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
