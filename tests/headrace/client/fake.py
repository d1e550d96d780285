"""A server that speaks the frames protocol over models of a few numpy lines, and misbehaves as a test asks it to."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError
from headrace.protos import sequences_pb2 as pb

from .rows import Row, read, stepped
from .specs import SPECS


class Cut(Enum):
    """Where the connection breaks, relative to one frame with steps."""

    BEFORE = auto()
    """Nothing of the frame is applied."""
    WITHIN = auto()
    """The first half of its rows is applied, none answered."""
    UNANSWERED = auto()
    """All rows are applied, none answered."""
    AFTER = auto()
    """All rows are applied and answered."""


@dataclass(slots=True)
class Live:
    """One sequence: its sum, and the replies that are not acknowledged."""

    model: str
    incarnation: int
    owner: tuple[Stream, int] | None = None
    position: int = 0
    total: NDArray[np.float32] = field(default_factory=lambda: np.zeros(2, np.float32))
    kept: dict[int, Row] = field(default_factory=dict)
    applied: int = 0  # steps


Script = Callable[[pb.GenerateRequest], AsyncIterator[pb.GenerateReply]]
Refusal = Callable[[Row], pb.Error | None]


@dataclass(slots=True, eq=False)
class Stream:
    """One connection: its keys, and what it was told to write."""

    keys: dict[int, Live] = field(default_factory=dict)
    models: dict[int, str] = field(default_factory=dict)
    replies: asyncio.Queue[pb.Reply | None] = field(default_factory=asyncio.Queue)  # None: break the connection


async def _nothing(request: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
    return
    yield


class FakeServer:
    """`cuts`: one is taken for each frame with steps. `refuse`: asked for each row. `paused`: rows queue up instead."""

    def __init__(self) -> None:
        self.live: dict[str, Live] = {}
        self.frames: list[pb.Request] = []
        self.cuts: deque[Cut | None] = deque()
        self.refuse: Refusal = lambda row: None
        self.refuse_open: Callable[[pb.Open], pb.Error | None] = lambda told: None
        self.paused = False
        self.versions = ["1"]  # of every model, the oldest first
        self.unreadable = ""  # a model whose spec is of another world
        self.frame_bytes = 0  # the largest frame that is read, 0 for any
        self.writing: Script = _nothing
        self.asked: list[pb.GenerateRequest] = []
        self.cancelled = 0  # calls for texts that their callers left
        self.queue: list[tuple[Stream, Row]] = []
        self.streams: list[Stream] = []
        self.connections = 0
        self.overfull = 0  # steps refused because of unacknowledged replies
        self.changed = asyncio.Condition()
        self.port = 0

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self._server = grpc.aio.server()
        handlers = {
            "Stream": grpc.stream_stream_rpc_method_handler(
                self._stream, request_deserializer=pb.Request.FromString, response_serializer=pb.Reply.SerializeToString
            ),
            "Models": grpc.unary_unary_rpc_method_handler(
                self._models,
                request_deserializer=pb.ModelsRequest.FromString,
                response_serializer=pb.ModelsReply.SerializeToString,
            ),
            "Generate": grpc.unary_stream_rpc_method_handler(
                self._generate, pb.GenerateRequest.FromString, pb.GenerateReply.SerializeToString
            ),
            "Fork": grpc.unary_unary_rpc_method_handler(
                self._fork, pb.ForkRequest.FromString, pb.ForkReply.SerializeToString
            ),
        }
        service = grpc.method_handlers_generic_handler("headrace.v1.Sequences", handlers)
        self._server.add_generic_rpc_handlers((service,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def steps_seen(self) -> list[pb.Steps]:
        return [frame.steps for frame in self.frames if frame.steps.keys]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until something that the server sees makes `condition` true."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), 20)

    def cut(self) -> None:
        """Breaks all connections."""
        for stream in self.streams:
            stream.replies.put_nowait(None)

    def say(self, reply: pb.Reply) -> None:
        """To all connections."""
        for stream in self.streams:
            stream.replies.put_nowait(reply)

    def release(self) -> None:
        """Applies what queued up, in order."""
        self.paused, queue, self.queue = False, self.queue, []
        for stream, row in queue:
            stream.replies.put_nowait(self._answers(stream, [row]))

    # The wire

    async def _models(self, request: pb.ModelsRequest, context: Any) -> pb.ModelsReply:
        told = [
            pb.ModelsReply.Model(
                name=s.name, version=version, spec="{}" if s.name == self.unreadable else s.to_json(), device="CPU"
            )
            for s in SPECS.values()
            for version in self.versions
        ]
        return pb.ModelsReply(models=told, frame_bytes=self.frame_bytes)

    async def _generate(self, request: pb.GenerateRequest, context: Any) -> None:
        self.asked.append(request)
        try:
            async for reply in self.writing(request):
                await context.write(reply)
        except HeadraceError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), (("grpc-retry-pushback-ms", "250"),))
        except asyncio.CancelledError:
            self.cancelled += 1
            async with self.changed:
                self.changed.notify_all()
            raise

    async def _fork(self, request: pb.ForkRequest, context: Any) -> pb.ForkReply:
        source = self.live.get(request.id)
        if source is None:
            return pb.ForkReply(error=pb.Error(code=pb.UNKNOWN_SEQUENCE, message="not live"))
        for id in request.copies:
            self.live[id] = replace(source, owner=None, incarnation=request.incarnation, total=source.total.copy())
        return pb.ForkReply(position=source.position, version="1")

    async def _stream(self, requests: AsyncIterator[pb.Request], context: Any) -> None:
        stream = Stream()
        self.streams.append(stream)
        self.connections += 1
        reader = asyncio.create_task(self._read(stream, requests))
        try:
            while (reply := await stream.replies.get()) is not None:
                await context.write(reply)
        finally:
            self.streams.remove(stream)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            self.leave(stream)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the script")

    async def _read(self, stream: Stream, requests: AsyncIterator[pb.Request]) -> None:
        async for request in requests:
            if 0 < self.frame_bytes < request.ByteSize():
                stream.replies.put_nowait(pb.Reply(errors=[pb.Error(code=pb.INVALID_INPUT, message="too large")]))
                continue
            self.frames.append(request)
            cut = self.cuts.popleft() if request.steps.keys and self.cuts else None
            reply = self.handle(stream, request, cut)
            if reply is not None:
                stream.replies.put_nowait(reply)
            if cut is not None:
                stream.replies.put_nowait(None)
                return
            async with self.changed:
                self.changed.notify_all()

    def leave(self, stream: Stream) -> None:
        self.queue = [(s, row) for s, row in self.queue if s is not stream]
        for live in stream.keys.values():
            if live.owner is not None and live.owner[0] is stream:
                live.owner = None

    # What a frame does

    def handle(self, stream: Stream, request: pb.Request, cut: Cut | None) -> pb.Reply | None:
        reply = pb.Reply()
        for told in request.opens:
            self._open(stream, told, reply)
        rows = read(request.steps, SPECS[self._model(stream, request.steps)]) if request.steps.keys else []
        if cut in (Cut.BEFORE, Cut.WITHIN):
            rows = rows[: len(rows) // 2] if cut is Cut.WITHIN else []
        if self.paused:
            self.queue += [(stream, row) for row in rows]
        else:
            reply.MergeFrom(self._answers(stream, rows))
        keys, positions = np.frombuffer(request.cancels.keys, "<u4"), np.frombuffer(request.cancels.positions, "<i8")
        for key, position in zip(keys.tolist(), positions.tolist(), strict=True):
            self._cancel(stream, key, position, reply)
        for key in np.frombuffer(request.closes, "<u4").tolist():
            self.live = {name: live for name, live in self.live.items() if live is not stream.keys.get(key)}
            reply.closed += np.uint32(key).tobytes()
        return reply if cut in (None, Cut.AFTER) and reply.ByteSize() else None

    def _model(self, stream: Stream, steps: pb.Steps) -> str:
        models = {stream.models[key] for key in np.frombuffer(steps.keys, "<u4").tolist()}
        assert len(models) == 1, "a frame's steps are of one model"
        return models.pop()

    def _open(self, stream: Stream, told: pb.Open, reply: pb.Reply) -> None:
        live = self.live.get(told.id)
        same = live is not None and live.incarnation == told.incarnation
        refusal = self.refuse_open(told)
        if told.model not in SPECS:
            refusal = pb.Error(code=pb.UNKNOWN_MODEL, message="no such model")
        elif told.mode in (pb.RESUME, pb.REJOIN) and live is None:
            refusal = pb.Error(code=pb.UNKNOWN_SEQUENCE, message="not live")
        elif told.mode == pb.REJOIN and not same:
            refusal = pb.Error(code=pb.TAKEN_OVER, message="another client has it")
        elif told.mode == pb.FRESH and live is not None and not same:
            refusal = pb.Error(code=pb.ALREADY_EXISTS, message="live")
        if refusal is not None:
            reply.errors.append(pb.Error(key=told.key, code=refusal.code, message=refusal.message))
            if refusal.HasField("retry_after_ms"):
                reply.errors[-1].retry_after_ms = refusal.retry_after_ms
            return
        if live is not None and live.owner is not None and live.owner != (stream, told.key):
            owner, key = live.owner
            owner.replies.put_nowait(pb.Reply(errors=[pb.Error(key=key, code=pb.TAKEN_OVER, message="taken over")]))
        resumed = live is not None and (same or told.mode == pb.RESUME)
        if live is None or not resumed:
            live = Live(told.model, told.incarnation)
        live.incarnation = told.incarnation
        if told.id:
            self.live[told.id] = live
        live.owner = (stream, told.key)
        stream.keys[told.key], stream.models[told.key] = live, told.model
        version = told.version or self.versions[-1]
        reply.opened.add(key=told.key, version=version, position=live.position, resumed=resumed)

    def _cancel(self, stream: Stream, key: int, position: int, reply: pb.Reply) -> None:
        for _, row in [(s, r) for s, r in self.queue if (s, r.key, r.position) == (stream, key, position)]:
            self.queue = [(s, r) for s, r in self.queue if r is not row]
            reply.errors.add(key=key, position=position, code=pb.CANCELLED, message="cancelled")
            behind = [(s, r) for s, r in self.queue if (s, r.key) == (stream, key) and r.position > position]
            for entry in behind:
                self.queue.remove(entry)
                reply.errors.append(_wrong(entry[1], position))

    def _answers(self, stream: Stream, rows: list[Row]) -> pb.Reply:
        reply, done = pb.Reply(), defaultdict[str, list[Row]](list)
        for row in rows:
            answer = self._apply(stream, row)
            if isinstance(answer, Row):
                done[stream.models[row.key]].append(answer)
            else:
                answer.key, answer.position = row.key, row.position
                reply.errors.append(answer)
        for model, answers in done.items():
            reply.stepped.append(stepped(answers, SPECS[model]))
        return reply

    def _apply(self, stream: Stream, row: Row) -> Row | pb.Error:
        live = stream.keys[row.key]
        refusal = self.refuse(row)
        if refusal is not None:
            return refusal
        if not SPECS[live.model].stateful:
            row.outputs = (row.values[0].mean(axis=0),)
            return row
        live.kept = {at: kept for at, kept in live.kept.items() if at + kept.length > row.acked}
        if row.position == live.position and len(live.kept) == 8:
            self.overfull += 1
            return pb.Error(code=pb.OVERLOADED, message="too many replies are not acknowledged", retry_after_ms=100)
        if row.position == live.position:
            _step(live, row)
        elif live.kept.get(row.position) is None or live.kept[row.position].length != row.length:
            return _wrong(row, live.position)
        row.outputs = live.kept[row.position].outputs
        return row


def _step(live: Live, row: Row) -> None:
    if live.model == "letters":  # what comes next is surely the following symbol
        row.outputs = (np.eye(3, dtype=np.float32)[(row.values[0] + 1) % 3] * 100,)
    else:
        row.outputs = _sum(live, row)
    live.position, live.applied = live.position + row.length, live.applied + 1
    live.kept[row.position] = row


def _sum(live: Live, row: Row) -> tuple[NDArray[Any], ...]:
    y = np.cumsum(row.values[0], axis=0) + live.total  # [time, 2]
    last: tuple[NDArray[Any], ...] = (row.values[1][-1],) if live.model == "pair" else ()
    live.total = y[-1]
    return (y, *last)


def _wrong(row: Row, expected: int) -> pb.Error:
    told = pb.Error(key=row.key, position=row.position, code=pb.WRONG_POSITION, message="wrong position")
    told.expected_position = expected
    return told
