"""The stream to the server: written and read while it lives, made anew when it breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import isinf
from typing import Any, Protocol

import grpc

from headrace.errors import HeadraceError, Unavailable
from headrace.protos import sequences_pb2 as pb

from .codes import from_wire
from .served import Catalogue, ServedModel
from .session import FrameRefused, Session
from .settings import Settings

log = logging.getLogger(__name__)

SERVICE = "/headrace.v1.Sequences"

#: Turns of the event loop from a reply to the asking for the next one, which takes gRPC a while: in the first those who
#: are answered go on, in the second the steps that they call are written. So the server has those sooner.
TURNS = 2


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Monotonic time in seconds, as an event loop has it; tests bring their own."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...


class Connection:
    """Owns the channel and the tasks; what they say and hear is the session's affair. Made inside a running loop."""

    def __init__(self, address: str, settings: Settings, clock: Clock, random: Callable[[], float]) -> None:
        self.catalogue = Catalogue()
        self.clock = clock
        self.loop = asyncio.get_running_loop()  # kept: to ask for it costs a system call, before Python 3.12
        self.open = True  # until it is stopped
        self._address, self._settings, self._random = address, settings, random
        self._written = asyncio.Event()  # set when there may be something to write
        self.session = Session(settings, self._written.set, self._set_alarm)
        self._timer: Timer | None = None
        self._failures = 0  # attempts to connect since the last reply
        self._task: asyncio.Task[None] | None = None
        self._channel: Any = grpc.aio.insecure_channel(address, options=_options(settings))
        self._stream = self._channel.stream_stream(
            f"{SERVICE}/Stream",
            request_serializer=pb.Request.SerializeToString,
            response_deserializer=pb.Reply.FromString,
        )
        self._models = self._channel.unary_unary(
            f"{SERVICE}/Models",
            request_serializer=pb.ModelsRequest.SerializeToString,
            response_deserializer=pb.ModelsReply.FromString,
        )
        #: A request for texts → the call that streams their replies.
        self.generate = self._channel.unary_stream(
            f"{SERVICE}/Generate",
            request_serializer=pb.GenerateRequest.SerializeToString,
            response_deserializer=pb.GenerateReply.FromString,
        )
        self._fork = self._channel.unary_unary(
            f"{SERVICE}/Fork",
            request_serializer=pb.ForkRequest.SerializeToString,
            response_deserializer=pb.ForkReply.FromString,
        )

    def __repr__(self) -> str:
        return f"Connection({self._address}, {self.session})"

    async def start(self) -> None:
        """Raises Unavailable if no Headrace server answers within `connect_timeout`."""
        reply = await self._list()
        self.catalogue.learn(reply)
        self.session.limit(reply.frame_bytes, reply.frame_rows)
        self._task = asyncio.create_task(self._run())

    async def models(self) -> list[ServedModel]:
        """All that is served. Raises Unavailable, or ConfigurationError if a spec cannot be read."""
        return self.catalogue.learn(await self._list())

    async def fork(self, request: pb.ForkRequest) -> pb.ForkReply:
        """Raises what the server refuses it with, or Unavailable: then it may have happened all the same."""
        try:
            reply: pb.ForkReply = await self._fork(request, timeout=self._settings.patience)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"the server did not answer whether the sequence was forked ({_reason(error)})") from None
        if reply.HasField("error"):
            raise from_wire(reply.error)
        return reply

    async def _list(self) -> pb.ModelsReply:
        timeout = self._settings.connect_timeout
        try:
            reply: pb.ModelsReply = await self._models(pb.ModelsRequest(), timeout=timeout, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(
                f"no Headrace server answers at {self._address} within {timeout} s ({_reason(error)}); "
                "check the address, and that it runs"
            ) from None
        return reply

    async def stop(self) -> None:
        """Sequences that are not closed live on at the server, until they are resumed or expire."""
        self.open = False
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._channel.close()
        self.session.fail(Unavailable("the client is closed"))

    # The stream

    async def _run(self) -> None:
        """What is not the network's fault would come again on every stream: it ends the client."""
        try:
            while True:
                self.session.offline(await self._serve_one_stream())
                await self._pause()
                await self._ask_limit()
        except Exception as error:
            log.exception("the client of %s cannot go on", self._address)
            self.session.fail(HeadraceError(f"the client cannot go on ({_reason(error)}); connect another one"))

    async def _ask_limit(self) -> None:
        """It may be another server by now, with other settings."""
        with suppress(Unavailable):  # the next stream will tell
            reply = await self._list()
            self.session.limit(reply.frame_bytes, reply.frame_rows)

    async def _serve_one_stream(self) -> str:
        """Until it breaks, on either side; returns why it did. Raises what another stream would not heal."""
        stream = self._stream()
        self.session.online()
        tasks = [asyncio.create_task(self._read(stream)), asyncio.create_task(self._write(stream))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return _lost([task.exception() for task in done])
        finally:
            for task in tasks:
                task.cancel()
            stream.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, stream: Any) -> None:
        while (reply := await stream.read()) is not grpc.aio.EOF:
            self._failures = 0
            self.session.receive(reply, self.clock.time())
            for _ in range(TURNS):
                await asyncio.sleep(0)

    async def _write(self, stream: Any) -> None:
        """One frame at a time: steps that are called while it is being written make up the next one."""
        while True:
            await self._written.wait()
            self._written.clear()
            while (frame := self.session.next_frame(self.clock.time())) is not None:
                try:
                    await stream.write(frame)
                except asyncio.InvalidStateError:
                    return  # the stream is over; who reads it knows why

    async def _pause(self) -> None:
        """Exponential backoff with full jitter, so that many clients do not come back all at once."""
        longest = min(self._settings.backoff_first * 2**self._failures, self._settings.backoff_longest)
        self._failures = min(self._failures + 1, 32)
        over = asyncio.get_running_loop().create_future()
        timer = self.clock.call_at(self.clock.time() + longest * self._random(), lambda: over.set_result(None))
        try:
            await over
        finally:
            timer.cancel()

    def _set_alarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self.session.due
        self._timer = None if isinf(due) else self.clock.call_at(due, lambda: self.session.tick(self.clock.time()))


def _lost(errors: Sequence[BaseException | None]) -> str:
    """Why a stream ended. Raises the first error that is not the stream's."""
    for error in errors:
        if error is not None and not isinstance(error, grpc.aio.AioRpcError | FrameRefused):
            raise error
    return _reason(next((error for error in errors if error is not None), None))


def _reason(error: BaseException | None) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return "the server ended the stream" if error is None else f"{type(error).__name__}: {error}"


def _options(settings: Settings) -> list[tuple[str, int]]:
    """A connection of its own, whose pauses between attempts are the client's, not the channel's."""
    longest = int(settings.backoff_longest * 1000)
    return [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", int(settings.backoff_first * 1000)),
        ("grpc.min_reconnect_backoff_ms", int(settings.backoff_first * 1000)),
        ("grpc.max_reconnect_backoff_ms", longest),
        ("grpc.max_receive_message_length", settings.reply_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", int(settings.keepalive * 1000)),
        ("grpc.http2.ping_timeout_ms", int(settings.keepalive * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
    ]
