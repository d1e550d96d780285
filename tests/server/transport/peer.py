"""A connection without a network: a client that speaks by hand, a socket that remembers, and a clock that waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import grpc

from headrace.server.transport.connection import Connection, Terms
from headrace.server.transport.messages import framed

from .frames import ACK, DATA, PREFACE, SETTINGS, Frame, Reader, data, frame, request, settings

T = TypeVar("T")

#: Turns of the event loop, more than anything here takes to come to rest.
TURNS = 20
SILENCE = 30.0
MOST = 4 << 20
ECHO = "/test/Echo"


class Clockwork(asyncio.SelectorEventLoop):
    """Whose time passes when a test says so."""

    now = 0.0

    def time(self) -> float:
        return self.now


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=Clockwork) as runner:
        return runner.run(work)


async def rest() -> None:
    """Until nothing happens by itself."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def wait(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Clockwork)
    loop.now += seconds
    await rest()


class Socket(asyncio.Transport):
    """Mutable: `sent`, what the server wrote and nobody has read; `ended`, it writes no more; `closed`, in order, or
    `aborted`; `_waiting`, what came while it was not `reading`."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol, self.sent, self._waiting = protocol, bytearray(), b""
        self.ended = self.closed = self.aborted = False
        self.reading = True

    def deliver(self, data: bytes) -> None:
        if not self.reading:
            self._waiting += data
        elif not self.closed:
            self._protocol.data_received(data)

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading, data, self._waiting = True, self._waiting, b""
        if data:
            asyncio.get_running_loop().call_soon(self.deliver, data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not (data and self.ended)
        self.sent += data

    def write_eof(self) -> None:
        """The client closes then."""
        self.ended = True
        self.close()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = self.ended = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()


class Peer:
    """A client on a connection of its own. limits: its settings."""

    def __init__(self, terms: Terms, limits: dict[int, int] | None = None) -> None:
        self.terms, self.connection = terms, Connection(terms)
        self.socket, self._reader = Socket(self.connection), Reader()
        self.connection.connection_made(self.socket)
        self.send(PREFACE, settings(limits or {}), frame(SETTINGS, flags=ACK))

    def send(self, *frames: bytes) -> None:
        self.socket.deliver(b"".join(frames))

    def begin(self, stream: int, path: str = ECHO, *messages: bytes, ends: bool = False, **headers: bytes) -> None:
        """A call, and some of its messages."""
        sent = [data(stream, b"".join(map(framed, messages)), ends=ends)] if messages or ends else []
        self.send(request(stream, path, **headers), *sent)

    def heard(self) -> list[Frame]:
        """What the server sent since this was asked last."""
        new = bytes(self.socket.sent)
        self.socket.sent.clear()
        return self._reader.read(new)

    async def answers(self, stream: int = 1) -> list[Frame]:
        """The same of one stream, once all is at rest."""
        await rest()
        return [frame for frame in self.heard() if frame.stream == stream]

    async def leave(self) -> None:
        """The network is cut."""
        self.socket.abort()
        await rest()


def body(frames: list[Frame]) -> bytes:
    return b"".join(frame.payload for frame in frames if frame.kind == DATA)


def status(frames: list[Frame]) -> tuple[int, str]:
    """The code and the sentence, as they came over the wire; they must end the stream, which nothing else may."""
    (last,) = [frame for frame in frames if frame.ends]
    return int(last.headers[b"grpc-status"]), last.headers.get(b"grpc-message", b"").decode("ascii")


def terms(
    handlers: dict[str, grpc.RpcMethodHandler] | None = None, most: int = MOST, silence: float = SILENCE
) -> Terms:
    """Of a server that has these handlers by their paths; an echo of streams, if no others are said."""
    return Terms((handlers or {ECHO: grpc.stream_stream_rpc_method_handler(echo)}).get, most, silence)


def streaming(handle: Any) -> dict[str, grpc.RpcMethodHandler]:
    return {ECHO: grpc.stream_stream_rpc_method_handler(handle)}


def unary(handle: Any) -> dict[str, grpc.RpcMethodHandler]:
    return {ECHO: grpc.unary_unary_rpc_method_handler(handle)}


async def one_by_one(requests: Any) -> AsyncIterator[bytes]:
    """No more is taken than is asked for."""
    found: list[bytes] = []

    def take(message: bytes) -> bool:
        found.append(message)
        return False

    while await requests.each(take):
        yield found.pop()


async def echo(requests: Any, context: Any) -> None:
    async for message in one_by_one(requests):
        await context.write(message)
