"""The load generator: frames of the wire protocol, written by columns, so that it costs less than what it measures."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec

METHOD = "/headrace.v1.Sequences/Stream"


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


class Frames:
    """One connection with `rows` sequences of a model, each of which makes one step of `length` in every frame."""

    def __init__(self, channel: grpc.aio.Channel, spec: ModelSpec, rows: int, length: int, name: str) -> None:
        self._call = channel.stream_stream(
            METHOD, request_serializer=pb.Request.SerializeToString, response_deserializer=pb.Reply.FromString
        )()
        self._spec, self._rows, self._length, self._name = spec, rows, length, name
        self._keys = np.arange(rows, dtype="<u4").tobytes()
        self._lengths = np.full(rows, length, "<i8").tobytes()
        rng = np.random.default_rng(0)
        self._values = [i.sample(rows * length, rng).tobytes() for i in spec.inputs]
        self._position = 0

    async def open(self) -> None:
        """Opens the sequences. Raises RuntimeError if the server refuses one."""
        request = pb.Request()
        for key in range(self._rows):
            request.opens.add(
                key=key, model=self._spec.name, id=f"{self._name}-{key}", mode=pb.REPLACE, incarnation=key + 1
            )
        await self._call.write(request)
        opened = 0
        while opened < self._rows:
            reply = await self._read()
            opened += len(reply.opened)

    async def step(self) -> float:
        """One frame; returns the seconds until every row of it was answered."""
        position = np.full(self._rows, self._position, "<i8").tobytes()
        steps = pb.Steps(keys=self._keys, positions=position, lengths=self._lengths, values=self._values)
        began = time.perf_counter()
        await self._call.write(pb.Request(steps=steps))
        answered = 0
        while answered < self._rows:
            answered += sum(len(stepped.keys) // 4 for stepped in (await self._read()).stepped)
        self._position += self._length
        return time.perf_counter() - began

    async def close(self) -> None:
        await self._call.write(pb.Request(closes=self._keys))
        await self._call.done_writing()
        while await self._call.read() is not grpc.aio.EOF:
            pass

    async def _read(self) -> pb.Reply:
        reply = await self._call.read()
        if not isinstance(reply, pb.Reply) or reply.errors:
            raise RuntimeError(f"the server refused: {reply.errors[0].message if reply else 'the stream ended'}")
        return reply


async def frames(
    address: str, spec: ModelSpec, *, rows: int, connections: int, seconds: float, length: int = 1
) -> Load:
    """Closed loop: each connection sends its next frame of `rows` steps when the last is answered.

    length: time steps in each step.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        streams = [Frames(channel, spec, rows, length, f"bench{number}") for number in range(connections)]
        await asyncio.gather(*(stream.open() for stream in streams))
        began = time.perf_counter()
        latencies = await asyncio.gather(*(_loop(stream, began + seconds) for stream in streams))
        took = time.perf_counter() - began
        await asyncio.gather(*(stream.close() for stream in streams))
    merged = np.concatenate([np.array(each) for each in latencies])
    return Load(rows * len(merged), took, merged)


async def _loop(stream: Frames, until: float) -> list[float]:
    latencies = []
    while time.perf_counter() < until:
        latencies.append(await stream.step())
    return latencies
