"""Open load: steps come when they come, at random, whether or not the last ones are answered.

Arrivals are a Poisson process at half of the rate that a closed loop reaches in the same round. A step's latency counts
from the time at which it was due, so that a server that falls behind cannot hide it, nor can a generator. What is due
at once goes in one frame; the connections take turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median

import numpy as np
from numpy.typing import NDArray

from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec

from .connection import Connection, column, connected, keys
from .figures import Figure
from .load import frames
from .plots import histogram
from .site import BATCH, Site
from .speed import CONNECTIONS

SEQUENCES, SHARE, ROWS = 512, 0.5, 64
MOST = 3.0

#: The generator looks what is due so often, in seconds.
TICK = 1e-3


@dataclass(frozen=True, slots=True)
class Round:
    """latencies, lags [rows]: seconds from when a step was due to its answer, and to its leaving; full: seconds of a
    full batch on the bare runtime; rate: of the arrivals."""

    latencies: NDArray[np.float64]
    lags: NDArray[np.float64]
    full: float
    rate: float

    @property
    def ratio(self) -> float:
        return percentile(self.latencies, 99) / self.full


def arrivals(rate: float, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Times of a Poisson process, in seconds from its beginning."""
    count = rng.poisson(rate * seconds)
    return np.sort(rng.uniform(0, seconds, count))  # given their number, arrivals are uniform


def percentile(values: NDArray[np.float64], q: float) -> float:
    return float(np.percentile(values, q))


class Turns:
    """The sequences of a connection step in turn: the n-th step is of sequence n mod SEQUENCES, at n // SEQUENCES.

    most: steps, at most. Mutable: `_due`, when each was due, of which `_sent` have left; `latencies` of the answered.
    """

    def __init__(self, connection: Connection, most: int) -> None:
        self._connection, self._due, self._sent = connection, np.empty(most), 0
        self._step = [i.sample(1, np.random.default_rng(0)).tobytes() for i in connection.spec.inputs]
        self.latencies: list[NDArray[np.float64]] = []

    async def send(self, due: NDArray[np.float64]) -> None:
        """Steps that were due at these times, in one frame."""
        numbers = np.arange(self._sent, self._sent + len(due))
        self._due[numbers] = due
        self._sent += len(due)
        steps = pb.Steps(
            keys=(numbers % SEQUENCES).astype("<u4").tobytes(),
            positions=column(numbers // SEQUENCES),
            lengths=column(np.ones(len(due), np.int64)),
            values=[value * len(due) for value in self._step],
        )
        await self._connection.write(pb.Request(steps=steps))

    async def finish(self) -> None:
        await self._connection.write(pb.Request(closes=keys(SEQUENCES)))
        await self._connection.finish()

    async def receive(self) -> None:
        """Until the server has nothing more to say."""
        while (reply := await self._connection.read_or_end()) is not None:
            now = time.perf_counter()
            for stepped in reply.stepped:
                key, position = np.frombuffer(stepped.keys, "<u4"), np.frombuffer(stepped.positions, "<i8")
                self.latencies.append(now - self._due[position * SEQUENCES + key])


async def send(turns: Sequence[Turns], due: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sends each step when it is due [rows], in seconds of the clock; returns by how much each left too late."""
    sent, left, turn = 0, np.empty(len(due)), cycle(turns)
    while sent < len(due):
        ready = int(np.searchsorted(due, time.perf_counter()))
        if ready > sent:
            await next(turn).send(due[sent:ready])
            left[sent:ready] = time.perf_counter()
            sent = ready
        await asyncio.sleep(TICK)
    for each in turns:
        await each.finish()
    return left - due


async def open_load(
    address: str, spec: ModelSpec, rate: float, seconds: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """latencies, lags [rows] of arrivals at this rate, for so long."""
    times = arrivals(rate, seconds, rng)
    async with connected(address, spec, CONNECTIONS) as made:
        await asyncio.gather(*(connection.open(SEQUENCES) for connection in made))
        turns = [Turns(connection, len(times)) for connection in made]
        answers = asyncio.gather(*(each.receive() for each in turns))
        lags = await send(turns, times + time.perf_counter())
        await answers
    return np.concatenate([part for each in turns for part in each.latencies]), lags


def poisson(site: Site) -> list[Figure]:
    bare, rng = site.bare(), np.random.default_rng(0)
    with site.server() as server:

        def one_round() -> Round:
            address, seconds = server.address, site.seconds
            closed = frames(address, bare.spec, rows=ROWS, connections=CONNECTIONS, seconds=seconds)
            rate = SHARE * site.load(closed).rate
            latencies, lags = site.load(open_load(address, bare.spec, rate, 2 * seconds, rng))
            return Round(latencies, lags, float(bare.runs(BATCH, seconds / 2).times.mean()), rate)

        rounds = site.repeat(one_round)
    histogram(
        site.pictures / "poisson.png",
        1e3 * np.concatenate([each.latencies for each in rounds]),
        "latency of a step from when it was due, ms",
        {f"{MOST:g} x a full batch": 1e3 * MOST * median(each.full for each in rounds)},
    )
    return figures(rounds)


def figures(rounds: Sequence[Round]) -> list[Figure]:
    p50, p99, p999 = (1e3 * median(percentile(each.latencies, q) for each in rounds) for q in (50, 99, 99.9))
    lag = 1e3 * median(percentile(each.lags, 99) for each in rounds)
    full = 1e3 * median(each.full for each in rounds)
    rate = median(each.rate for each in rounds)
    return [
        Figure(
            "Poisson arrivals at half of the maximum, p99",
            median(each.ratio for each in rounds),
            "x a full batch",
            MOST,
            note=f"{p99:.1f} ms, p50 {p50:.1f}, p99.9 {p999:.1f}; a batch of {BATCH} {full:.1f}; {rate:,.0f} steps/s",
        ),
        Figure("of it the generator's own lag, p99", lag, "ms", note="within the latency"),
    ]
