"""A client of the frames protocol that speaks it literally, and a server with models that can be checked by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from threading import get_ident
from typing import Any

import grpc
import numpy as np

from headrace.protos import sequences_pb2 as pb
from headrace.server.alone import Alone
from headrace.server.device import Device
from headrace.server.gate import Gate
from headrace.server.journal import NoJournal
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.metrics import LaneMeter
from headrace.server.models import Model, Models
from headrace.server.outlet import Outlet
from headrace.server.rpc.sequences import SequencesService
from headrace.server.transport.listen import Transport
from headrace.server.work import Engine
from headrace.spec import ModelSpec

from ..fakes import FEATURES, SUM, Clock, SumEngine
from ..listening import channel_to

DEVICE: Device = "CPU"


class Wire:
    """One stream. `send` writes a frame, `read` returns the next."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call: Any = channel.stream_stream(
            "/headrace.v1.Sequences/Stream", response_deserializer=pb.Reply.FromString
        )()

    async def send(self, frame: pb.Request | bytes) -> None:
        await self._call.write(frame if isinstance(frame, bytes) else frame.SerializeToString())

    async def read(self) -> pb.Reply:
        reply = await self._call.read()
        assert isinstance(reply, pb.Reply), "the stream ended"
        return reply

    async def ask(self, frame: pb.Request | bytes, answers: int) -> pb.Reply:
        """Sends, and reads until so many answers have come, merged into one."""
        await self.send(frame)
        merged = pb.Reply()
        while count(merged) < answers:
            merged.MergeFrom(await self.read())
        return merged

    async def done(self) -> list[pb.Reply]:
        """Says that nothing more comes, and reads to the end."""
        await self._call.done_writing()
        replies = []
        while isinstance(reply := await self._call.read(), pb.Reply):
            replies.append(reply)
        return replies

    def cancel(self) -> None:
        self._call.cancel()


def count(reply: pb.Reply) -> int:
    return len(reply.opened) + len(reply.errors) + len(reply.closed) // 4 + sum(len(s.keys) // 4 for s in reply.stepped)


def opens(*keys: int, model: str = "sum", **fields: Any) -> pb.Request:
    return pb.Request(opens=[pb.Open(key=k, model=model, id=f"s{k}", incarnation=k + 1, **fields) for k in keys])


def stepping(rows: Sequence[tuple[int, int, Sequence[float]]], *, dtype: str = "<f4", **fields: Any) -> pb.Request:
    """(key, position, value of each time step) of each row; a value stands for all features."""
    values = np.array([v for _, _, vs in rows for v in vs], dtype).repeat(FEATURES)
    steps = pb.Steps(
        keys=np.array([r[0] for r in rows], "<u4").tobytes(),
        positions=np.array([r[1] for r in rows], "<i8").tobytes(),
        lengths=np.array([len(r[2]) for r in rows], "<i8").tobytes(),
        values=[values.tobytes()],
        **fields,
    )
    return pb.Request(steps=steps)


def sums(reply: pb.Reply) -> dict[int, list[float]]:
    """key → the first feature of its results."""
    found: dict[int, list[float]] = {}
    for stepped in reply.stepped:
        keys, lengths = np.frombuffer(stepped.keys, "<u4"), np.frombuffer(stepped.lengths, "<i8")
        y = np.frombuffer(stepped.values[0], "<f4").reshape(-1, FEATURES)[:, 0]
        for key, row in zip(keys.tolist(), np.split(y, np.cumsum(lengths)[:-1]), strict=True):
            found.setdefault(key, []).extend(row.tolist())
    return found


def model(
    clock: Clock,
    spec: ModelSpec = SUM,
    version: str = "1",
    engine: Engine | None = None,
    queued: int = 1000,
    lanes: int = 1,
) -> Model:
    """A model in numpy with running lanes."""
    loop, made = asyncio.get_running_loop(), Model(spec, version, DEVICE, Gate(queued, "here"), Alone())
    limits = Limits(rows=8, tokens=64, sequences=32)
    made.lanes = tuple(
        Lane(
            spec,
            version,
            engine or SumEngine(limits.slots),
            NoJournal(),
            LaneMeter(("", "", "")),
            limits,
            Outlet(made.deliver, loop, get_ident()),
            clock,
        )
        for _ in range(lanes)
    )
    for lane in made.lanes:
        lane.start()
    return made


@asynccontextmanager
async def serving(
    models: Models,
    clock: Callable[[], float],
    *,
    connection_rows: int = 100,
    frame_bytes: int = 4096,
    transport: Transport = "auto",
) -> AsyncIterator[tuple[grpc.aio.Channel, SequencesService]]:
    """A channel to a server of these models; both end with the block."""
    service = SequencesService(models, connection_rows, frame_bytes, clock)
    try:
        async with channel_to(service.handler(), transport=transport) as channel:
            yield channel, service
    finally:
        models.stop()
