"""Many tasks of one program, each with a sequence of its own: what callers of the client library get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from headrace import connect
from headrace.client import Sequence, Value

from .load import Load, closed_loop


class Caller:
    """One task's sequence and what it sends, again and again."""

    rows = 1

    def __init__(self, sequence: Sequence, value: Value) -> None:
        self._sequence, self._value = sequence, value

    async def step(self) -> float:
        """Seconds from the call to the answer in the task's hands."""
        called = time.perf_counter()
        await self._sequence.step(self._value)
        return time.perf_counter() - called


@asynccontextmanager
async def calling(address: str, model: str, *, count: int, length: int = 1) -> AsyncIterator[list[Caller]]:
    """So many callers of one client, for steps of `length` time steps; their sequences are closed with the block."""
    async with connect(address) as client:
        inputs, rng = (await client.find(model)).spec.inputs, np.random.default_rng(0)
        sequences = await asyncio.gather(*(client.open(model) for _ in range(count)))
        values = [tuple([i.sample(length, rng) for i in inputs]) for _ in sequences]
        yield [Caller(s, v if len(v) > 1 else v[0]) for s, v in zip(sequences, values, strict=True)]
        await asyncio.gather(*(sequence.close() for sequence in sequences))


async def tasks(address: str, model: str, *, count: int = 500, seconds: float, length: int = 1) -> Load:
    """Closed loop: each of `count` tasks awaits `step()`, and calls it again when it is answered."""
    async with calling(address, model, count=count, length=length) as callers:
        return await closed_loop(callers, seconds)
