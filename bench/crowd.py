"""100,000 open sequences, each stepping at random: what a step costs against 1,000 of them, and what memory they take.

Memory is what is resident at the end more than at the start. Of that the states' arena and the replies that wait for
acknowledgement have sizes that are known; the rest is what the server needs to know of a sequence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import prod
from statistics import median

import numpy as np

from headrace.spec import ModelSpec

from .connection import connected
from .figures import Figure
from .load import Cost, Crowd, metered
from .process import resident
from .server import Running
from .site import Site
from .usage import metrics

FEW, MANY = 1_000, 100_000
CONNECTIONS, ROWS = 4, 250
MOST, MOST_BYTES = 1.1, 1_000

KEPT, LIVE = "headrace_kept_bytes", "headrace_live_sequences"

Round = tuple[Cost, Cost]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. resident: more than at the start; arena: of their states; kept: of replies; sequences: that are live."""

    resident: int
    arena: int
    kept: float
    sequences: float

    @property
    def each(self) -> float:
        """What a sequence takes beside its state and its reply."""
        return (self.resident - self.arena - self.kept) / self.sequences


@asynccontextmanager
async def crowd(server: Running, spec: ModelSpec, sequences: int) -> AsyncIterator[list[Crowd]]:
    """So many open sequences, all of which have stepped once."""
    share = sequences // CONNECTIONS
    async with connected(server.address, spec, CONNECTIONS) as made:
        await asyncio.gather(*(connection.open(share) for connection in made))
        streams = [Crowd(connection, share, ROWS, seed) for seed, connection in enumerate(made)]
        await asyncio.gather(*(_all_once(stream, share // ROWS) for stream in streams))
        yield streams


async def _all_once(stream: Crowd, frames: int) -> None:
    for _ in range(frames):
        await stream.step()


def sequences(site: Site) -> list[Figure]:
    spec, room = site.bare().spec, ("--sequences", str(MANY))
    with site.server(*room) as few, site.server(*room) as many:
        start = resident(many.process.pid)

        async def measured() -> tuple[list[Round], Memory]:
            async with crowd(few, spec, FEW) as thousand, crowd(many, spec, MANY) as all_of_them:
                rounds = [
                    (await metered(few, thousand, site.seconds), await metered(many, all_of_them, site.seconds))
                    for _ in range(site.rounds)
                ]
                return rounds, memory(many, spec, start)

        return figures(*site.load(measured()))


def memory(server: Running, spec: ModelSpec, start: int) -> Memory:
    """start: bytes that were resident before anything was opened."""
    told = metrics(server.metrics)
    arena = MANY * sum(prod(s.shape) * np.dtype(s.dtype).itemsize for s in spec.states)
    return Memory(resident(server.process.pid) - start, arena, told[KEPT], told[LIVE])


def figures(rounds: Sequence[Round], found: Memory) -> list[Figure]:
    """rounds: the cost with few sequences, and with many."""
    few, many = (1e6 * median(cost.cpu for cost in costs) for costs in zip(*rounds, strict=True))
    taken = f"{found.resident / 2**20:,.0f} MiB in all, of it arena {found.arena / 2**20:,.0f}"
    return [
        Figure(
            f"cost of a step, {FEW:,} → {MANY:,} open sequences",
            median(b.cpu / a.cpu for a, b in rounds),
            "x",
            MOST,
            note=f"{few:.1f} → {many:.1f} µs",
        ),
        Figure("open sequences, each stepping at random", found.sequences, "served", MANY, at_least=True),
        Figure("memory of a sequence beside arena and kept replies", found.each, "B", MOST_BYTES, note=taken),
        Figure("kept replies", found.kept / found.sequences, "B a sequence", note="wait for acknowledgement"),
    ]
