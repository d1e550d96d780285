"""From the start of the process to the first answers of three models; as a user starts it, without any option."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from statistics import median

from headrace.spec import ModelSpec

from .connection import connected
from .figures import Figure
from .load import Frames
from .reference import named
from .server import serving
from .site import Site

NAMES = ("first", "second", "third")
MOST = 1.5

Round = tuple[float, float]


def start(site: Site) -> list[Figure]:
    models, cache = site.results / "three", site.results / "cache"
    specs = [named(site.model, models, name) for name in NAMES]

    def once() -> Round:
        began = time.perf_counter()
        with serving(models, ["--cache", str(cache)], log=site.results / "start.log") as server:
            listening = time.perf_counter() - began
            asyncio.run(_answers(server.address, specs))
            return listening, time.perf_counter() - began

    return figures([once() for _ in range(site.rounds)])


async def _answers(address: str, specs: Sequence[ModelSpec]) -> None:
    """One of each model."""
    for spec in specs:
        async with connected(address, spec, 1) as (connection,):
            await connection.open(1)
            await Frames(connection, 1, 1).step()


def figures(rounds: Sequence[Round]) -> list[Figure]:
    """rounds: seconds until the ports are open, and until all models have answered."""
    opened, answered = (median(column) for column in zip(*rounds, strict=True))
    note = f"each model answers once; ports open after {opened:.2f} s; nothing is pinned"
    return [Figure("process start → first answers of three models", answered, "s", MOST, note=note)]
