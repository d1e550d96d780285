"""Ragged lengths against equal ones: the same time steps, in steps of 1 to 50 mixed, and in steps of 25.

Every sequence sends its next step as soon as its last is answered, so that short ones need not wait for long ones. As
many time steps are under way on either side: 50 sequences of 1 to 50, or 51 of 25, on each connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec

from .connection import Connection, answered, column, connected
from .figures import Figure
from .load import WARM
from .process import cpu_seconds
from .server import Running
from .site import Site

LONGEST = 50
EQUAL = np.full(LONGEST + 1, LONGEST // 2)  # 51 of 25 time steps: 1,275
MIXED = np.arange(1, LONGEST + 1)  # 1 to 50: 1,275 as well
CONNECTIONS = 4
LEAST = 0.8


@dataclass(frozen=True, slots=True)
class Pace:
    """rate: time steps a second; cpu: seconds a time step."""

    rate: float
    cpu: float


Round = tuple[Pace, Pace]


class Rolling:
    """A sequence for each of `lengths`; all lengths are used before one comes again, in random order.

    Mutable: `tokens`, time steps answered so far; `_deck`, lengths that are still to be used; `_positions`, `_last`.
    """

    def __init__(self, connection: Connection, lengths: NDArray[np.int64], seed: int) -> None:
        self._connection, self._lengths, self._rng = connection, lengths, np.random.default_rng(seed)
        self._positions, self._last = np.zeros(len(lengths), np.int64), np.zeros(len(lengths), np.int64)
        self._deck = np.empty(0, np.int64)
        inputs, most = connection.spec.inputs, int(lengths.max()) * len(lengths)
        self._values = [(i.sample(1, self._rng).nbytes, i.sample(most, self._rng).tobytes()) for i in inputs]
        self.tokens = 0

    async def run(self, until: float) -> None:
        """Until then nothing waits but for its answer; then all is answered."""
        await self._connection.open(len(self._lengths))
        waiting = await self._send(np.arange(len(self._lengths)))
        while waiting:
            keys = answered(await self._connection.read()).astype(np.int64)
            self.tokens += int(self._last[keys].sum())
            waiting -= len(keys)
            if time.perf_counter() < until:
                waiting += await self._send(keys)
        await self._connection.close(len(self._lengths))

    async def _send(self, keys: NDArray[np.int64]) -> int:
        """The next step of each; returns how many."""
        lengths = self.dealt(len(keys))
        values = [sample[: size * int(lengths.sum())] for size, sample in self._values]
        steps = pb.Steps(
            keys=keys.astype("<u4").tobytes(),
            positions=column(self._positions[keys]),
            lengths=column(lengths),
            values=values,
        )
        self._positions[keys] += lengths
        self._last[keys] = lengths
        await self._connection.write(pb.Request(steps=steps))
        return len(keys)

    def dealt(self, count: int) -> NDArray[np.int64]:
        """The next so many lengths."""
        while len(self._deck) < count:
            self._deck = np.concatenate([self._deck, self._rng.permutation(self._lengths)])
        dealt, self._deck = self._deck[:count], self._deck[count:]
        return dealt


async def pace(server: Running, spec: ModelSpec, lengths: NDArray[np.int64], seconds: float) -> Pace:
    """Over a window in which all sequences are busy."""
    async with connected(server.address, spec, CONNECTIONS) as made:
        streams = [Rolling(connection, lengths, seed) for seed, connection in enumerate(made)]
        until = time.perf_counter() + 2 * WARM + seconds
        running = asyncio.gather(*(stream.run(until) for stream in streams))
        await asyncio.sleep(2 * WARM)
        first = _reading(server, streams)
        await asyncio.sleep(until - time.perf_counter())
        tokens, cpu, took = (b - a for a, b in zip(first, _reading(server, streams), strict=True))
        await running
    return Pace(tokens / took, cpu / tokens)


def _reading(server: Running, streams: Sequence[Rolling]) -> tuple[float, float, float]:
    """Time steps, CPU seconds, seconds, so far."""
    return sum(each.tokens for each in streams), cpu_seconds(server.process.pid), time.perf_counter()


def ragged(site: Site) -> list[Figure]:
    spec = site.bare().spec
    with site.server() as server:

        def paces() -> Round:
            mixed = site.load(pace(server, spec, MIXED, site.seconds))
            return mixed, site.load(pace(server, spec, EQUAL, site.seconds))

        return figures(site.repeat(paces))


def figures(rounds: Sequence[Round]) -> list[Figure]:
    """rounds: the pace with mixed lengths, and with equal ones."""
    mixed, equal = (median(each.rate for each in paces) for paces in zip(*rounds, strict=True))
    costs = [1e6 * median(each.cpu for each in paces) for paces in zip(*rounds, strict=True)]
    return [
        Figure(
            f"lengths of 1 to {LONGEST} against the same time steps at equal length",
            median(a.rate / b.rate for a, b in rounds),
            "x",
            LEAST,
            at_least=True,
            note=f"{mixed:,.0f} and {equal:,.0f} time steps/s",
        ),
        Figure(
            "the same by CPU time",
            median(b.cpu / a.cpu for a, b in rounds),
            "x",
            note=f"{costs[0]:.1f} and {costs[1]:.1f} µs a time step",
        ),
    ]
