"""A client connected to a scripted server, on real time or a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from headrace.client import Client, Sequence, Settings

from .clock import FakeClock
from .fake import FakeServer

QUICK = Settings(backoff_first=0.001, backoff_longest=0.01)


@dataclass(frozen=True, slots=True)
class Pair:
    server: FakeServer
    client: Client
    clock: FakeClock


@asynccontextmanager
async def served() -> AsyncIterator[tuple[FakeServer, Client]]:
    async with FakeServer() as server, Client(server.address, QUICK) as client:
        yield server, client


@asynccontextmanager
async def timed() -> AsyncIterator[Pair]:
    clock = FakeClock()
    async with FakeServer() as server, Client(server.address, QUICK, clock=clock) as client:
        yield Pair(server, client, clock)


def one(number: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[number, 0.0]])


async def total(sequence: Sequence, number: float, wait: float | None = None) -> float:
    """Adds `number`; the sum so far."""
    return float(np.asarray(await sequence.step(one(number), timeout=wait))[-1, 0])
