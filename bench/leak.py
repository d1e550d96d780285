"""10 million steps with 100,000 sequences that open and close: whether memory grows.

The slope is that of a straight line through what is resident, from a tenth of the steps on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from headrace.spec import ModelSpec

from .connection import Connection, connected
from .figures import Figure
from .load import Frames
from .plots import line
from .process import resident
from .server import Running
from .site import Site

STEPS, OPENS = 10_000_000, 100_000
CONNECTIONS, ROWS = 8, 250
FRAMES = STEPS // OPENS  # steps of each sequence
GENERATIONS = OPENS // (CONNECTIONS * ROWS)
QUICK_GENERATIONS = 2
MOST = 1.0

#: Seconds between two readings; the first so much of the steps does not count.
EVERY, SKIPPED = 0.5, 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """After so many steps so many bytes were resident."""

    steps: int
    resident: int


@dataclass(slots=True)
class Progress:
    """Mutable: what was done so far, and what was read meanwhile."""

    steps: int = 0
    opens: int = 0
    samples: list[Sample] = field(default_factory=list)


def slope(samples: Sequence[Sample]) -> float:
    """MiB per million steps, least squares; NaN where too few samples are left for a line."""
    counted = [s for s in samples if s.steps >= SKIPPED * samples[-1].steps]
    if len({s.steps for s in counted}) < 2:
        return float("nan")
    steps, sizes = [s.steps / 1e6 for s in counted], [s.resident / 2**20 for s in counted]
    return float(np.polyfit(steps, sizes, 1)[0])


async def churn(connection: Connection, generations: int, progress: Progress) -> None:
    """Opens, steps and closes ROWS sequences at a time."""
    for _ in range(generations):
        await connection.open(ROWS)
        progress.opens += ROWS
        stream = Frames(connection, ROWS, 1)
        for _ in range(FRAMES):
            await stream.step()
            progress.steps += ROWS
        await connection.close(ROWS)


async def _watch(progress: Progress, read: Callable[[], int]) -> None:
    """Reads until cancelled."""
    while True:
        progress.samples.append(Sample(progress.steps, read()))
        await asyncio.sleep(EVERY)


async def churned(server: Running, spec: ModelSpec, generations: int) -> Progress:
    progress = Progress()
    async with connected(server.address, spec, CONNECTIONS) as made:
        watch = asyncio.create_task(_watch(progress, lambda: resident(server.process.pid)))
        await asyncio.gather(*(churn(connection, generations, progress) for connection in made))
        watch.cancel()
    return progress


def leak(site: Site) -> list[Figure]:
    """A single run, whatever the rounds; a short one if there is but one round."""
    spec, generations = site.bare().spec, GENERATIONS if site.rounds > 1 else QUICK_GENERATIONS
    began = time.perf_counter()
    with site.server() as server:
        progress = site.load(churned(server, spec, generations))
    steps, sizes = [s.steps / 1e6 for s in progress.samples], [s.resident / 2**20 for s in progress.samples]
    line(site.pictures / "leak.png", steps, sizes, "million steps", "resident, MiB")
    return figures(progress, time.perf_counter() - began)


def figures(progress: Progress, seconds: float) -> list[Figure]:
    last = progress.samples[-1].resident / 2**20
    note = f"{progress.steps:,} steps, {progress.opens:,} opens in {seconds:.0f} s; {last:.0f} MiB in the end"
    return [Figure("slope of resident memory", slope(progress.samples), "MiB per million steps", MOST, note=note)]
