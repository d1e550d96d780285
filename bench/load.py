"""The load generator: frames of the wire protocol, written by columns, so that it costs less than what it measures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec

from .connection import Connection, answered, column, connected, keys
from .server import Running
from .usage import Meter, Usage

#: Seconds of the same load before it counts.
WARM = 0.2


@dataclass(frozen=True, slots=True)
class Load:
    """What was reached: steps a second, and seconds from a frame's writing to its last answer."""

    steps: int
    seconds: float
    latencies: NDArray[np.float64]

    @property
    def rate(self) -> float:
        return self.steps / self.seconds

    def percentile(self, q: float) -> float:
        """Seconds; q in percent."""
        return float(np.percentile(self.latencies, q))


@dataclass(frozen=True, slots=True)
class Cost:
    """A load, and what it cost the server."""

    load: Load
    usage: Usage

    @property
    def cpu(self) -> float:
        """Seconds a step, in all."""
        return self.usage.cpu / self.load.steps

    @property
    def outside(self) -> float:
        """Seconds a step, those inside the runtime left out."""
        return self.usage.outside / self.load.steps


class Stepping(Protocol):
    """What a closed loop repeats."""

    @property
    def rows(self) -> int: ...

    async def step(self) -> float:
        """One frame of `rows` steps; returns the seconds until every row of it was answered."""
        ...


class Frames:
    """`rows` sequences of a connection, each of which makes one step of `length` in every frame."""

    def __init__(self, connection: Connection, rows: int, length: int) -> None:
        self._connection, self.rows, self._length = connection, rows, length
        self._keys, self._lengths = keys(rows), np.full(rows, length, "<i8").tobytes()
        rng = np.random.default_rng(0)
        self._values = [i.sample(rows * length, rng).tobytes() for i in connection.spec.inputs]
        self._position = 0

    async def step(self) -> float:
        position = np.full(self.rows, self._position, "<i8").tobytes()
        steps = pb.Steps(keys=self._keys, positions=position, lengths=self._lengths, values=self._values)
        self._position += self._length
        return await exchange(self._connection, steps, self.rows)


class Crowd:
    """Many sequences of a connection, of which `rows` step in every frame: in random order, all equally often.

    Raises ValueError if `sequences` is no multiple of `rows`.
    """

    def __init__(self, connection: Connection, sequences: int, rows: int, seed: int) -> None:
        if sequences % rows:
            raise ValueError(f"{sequences} sequences cannot take turns in frames of {rows}")
        self._connection, self.rows, self._rng = connection, rows, np.random.default_rng(seed)
        self._positions = np.zeros(sequences, np.int64)
        self._lengths = column(np.ones(rows, np.int64))
        self._values = [i.sample(rows, self._rng).tobytes() for i in connection.spec.inputs]
        self._turns: Iterator[NDArray[np.int64]] = iter(())

    async def step(self) -> float:
        chosen = self._chosen()
        columns = {"keys": chosen.astype("<u4").tobytes(), "positions": column(self._positions[chosen])}
        self._positions[chosen] += 1
        return await exchange(
            self._connection, pb.Steps(**columns, lengths=self._lengths, values=self._values), self.rows
        )

    def _chosen(self) -> NDArray[np.int64]:
        """[rows] the sequences of the next frame."""
        for chosen in self._turns:
            return chosen
        self._turns = iter(self._rng.permutation(len(self._positions)).reshape(-1, self.rows))
        return next(self._turns)


class Paced:
    """Another's frames, one in every `period`, in seconds, the first after `offset`; late ones go at once."""

    def __init__(self, stream: Stepping, period: float, offset: float) -> None:
        self._stream, self.rows, self._period = stream, stream.rows, period
        self._due = time.perf_counter() + offset

    async def step(self) -> float:
        await asyncio.sleep(self._due - time.perf_counter())
        self._due = max(self._due, time.perf_counter()) + self._period
        return await self._stream.step()


async def exchange(connection: Connection, steps: pb.Steps, rows: int) -> float:
    """Seconds until all rows of a frame are answered."""
    began = time.perf_counter()
    await connection.write(pb.Request(steps=steps))
    got = 0
    while got < rows:
        got += len(answered(await connection.read()))
    return time.perf_counter() - began


async def closed_loop(streams: Sequence[Stepping], seconds: float) -> Load:
    """Each sends its next frame when its last is answered."""
    began = time.perf_counter()
    latencies = await asyncio.gather(*(_loop(stream, began + seconds) for stream in streams))
    took = time.perf_counter() - began
    steps = sum(stream.rows * len(each) for stream, each in zip(streams, latencies, strict=True))
    return Load(steps, took, np.concatenate([np.array(each) for each in latencies]))


async def _loop(stream: Stepping, until: float) -> list[float]:
    latencies = []
    while time.perf_counter() < until:
        latencies.append(await stream.step())
    return latencies


@asynccontextmanager
async def streaming(
    address: str, spec: ModelSpec, *, rows: int, connections: int, length: int = 1
) -> AsyncIterator[list[Frames]]:
    """Connections with `rows` open sequences each."""
    async with connected(address, spec, connections) as made:
        await asyncio.gather(*(connection.open(rows) for connection in made))
        yield [Frames(connection, rows, length) for connection in made]
        await asyncio.gather(*(connection.close(rows) for connection in made))


async def frames(
    address: str, spec: ModelSpec, *, rows: int, connections: int, seconds: float, length: int = 1
) -> Load:
    """Closed loop of frames with `rows` steps of `length` time steps."""
    async with streaming(address, spec, rows=rows, connections=connections, length=length) as streams:
        return await closed_loop(streams, seconds)


async def cost(server: Running, spec: ModelSpec, *, rows: int, connections: int, seconds: float) -> Cost:
    """The same, after a short time to get warm, and what it costs the server."""
    async with streaming(server.address, spec, rows=rows, connections=connections) as streams:
        return await metered(server, streams, seconds)


async def paced_cost(
    server: Running, spec: ModelSpec, *, rows: int, connections: int, seconds: float, rate: float, together: int
) -> Cost:
    """The same at `rate` steps a second: so many connections send `together`, one such group after the other."""
    period, groups = connections * rows / rate, -(-connections // together)
    async with streaming(server.address, spec, rows=rows, connections=connections) as streams:
        paced = [Paced(stream, period, n // together * period / groups) for n, stream in enumerate(streams)]
        return await metered(server, paced, seconds)


async def metered(server: Running, streams: Sequence[Stepping], seconds: float) -> Cost:
    await closed_loop(streams, WARM)
    meter = Meter(server)
    begun = meter.begin()
    load = await closed_loop(streams, seconds)
    return Cost(load, meter.end(begun))
