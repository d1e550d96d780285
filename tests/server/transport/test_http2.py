"""The server on real sockets: where it listens, and that nothing runs on once it has stopped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import grpc
import pytest

from headrace.server.transport.http2 import Http2Server, bound, find, listen
from headrace.server.transport.messages import framed

from .frames import ACK, GOAWAY, PREFACE, SETTINGS, Frame, Reader, frame, needs_nghttp2, request, settings, window
from .peer import ECHO, MOST, SILENCE, body, echo, status, streaming

pytestmark = needs_nghttp2


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC has no types
    """One streaming method."""

    def __init__(self, handle: Any) -> None:
        self._handlers = streaming(handle)

    def service(self, details: Any) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(details.method)


class Held:
    """A handler that waits, and takes its time to end."""

    def __init__(self) -> None:
        self.began, self.over = asyncio.Event(), False

    async def handle(self, requests: Any, context: Any) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(50):
                await asyncio.sleep(0)
            self.over = True


class Client:
    """A socket that speaks by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer, self._frames = reader, writer, Reader()

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def to_the_end(self) -> list[Frame]:
        """All that comes until the server says no more; then it closes, as clients do."""
        found = self._frames.read(await self._reader.read())
        self.writer.close()
        return found

    async def greet(self) -> None:
        """Returns once the server has answered: until then its end would be one of the network."""
        self.send(PREFACE, settings({}), frame(SETTINGS, flags=ACK))
        heard: list[Frame] = []
        while not any(found.kind == SETTINGS and found.flags & ACK for found in heard):
            heard += self._frames.read(await self._reader.read(1000))

    async def left(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def serving(handle: Any, check: Callable[[Http2Server, Client], Awaitable[None]]) -> None:
    """Runs `check` with a server and a client of it; it stops the server."""

    async def main() -> None:
        server = await listen("127.0.0.1", 0, [Handlers(handle)], MOST, SILENCE)
        client = Client(*await asyncio.open_connection("127.0.0.1", server.port))
        await client.greet()
        await check(server, client)
        assert repr(server) == f"Http2Server(port={server.port}, connections=0)"
        await client.left()

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("cut", [False, True])
def test_handlers_come_to_their_end_before_the_server_has_stopped(cut: bool) -> None:
    held = Held()

    async def check(server: Http2Server, client: Client) -> None:
        client.send(request(1, ECHO))
        await held.began.wait()
        if cut:
            client.writer.transport.abort()
        reading = asyncio.create_task(client.to_the_end())
        await server.stop(0)
        assert held.over
        await reading

    serving(held.handle, check)


def test_a_server_that_stops_says_goodbye_and_tells_its_calls() -> None:
    held = Held()

    async def check(server: Http2Server, client: Client) -> None:
        client.send(request(1, ECHO))
        await held.began.wait()
        stopping = asyncio.create_task(server.stop(0))
        found = await client.to_the_end()
        assert status([f for f in found if f.stream == 1])[0] == grpc.StatusCode.UNAVAILABLE.value[0]
        assert [f.payload[:4] for f in found if f.kind == GOAWAY] == [b"\x7f\xff\xff\xff", (1).to_bytes(4, "big")]
        await stopping

    serving(held.handle, check)


def test_a_server_without_calls_stops_at_once_whatever_it_would_wait() -> None:
    async def check(server: Http2Server, client: Client) -> None:
        stopping = asyncio.create_task(server.stop(1e6))
        assert any(found.kind == GOAWAY for found in await client.to_the_end())
        await stopping

    serving(echo, check)


def test_a_client_that_does_not_read_cannot_hold_up_the_end() -> None:
    async def pour(requests: Any, context: Any) -> None:
        began.set()
        while True:
            await context.write(bytes(1 << 20))

    async def check(server: Http2Server, client: Client) -> None:
        client.send(window(0, 1 << 30), request(1, ECHO), window(1, 1 << 30))
        await began.wait()
        await server.stop(0)

    began = asyncio.Event()
    serving(pour, check)


def test_large_answers_pass_through_a_socket_that_has_enough_now_and_then() -> None:
    async def pour(requests: Any, context: Any) -> None:
        began.set()
        for number in range(64):
            await context.write(bytes([number]) * (1 << 18))

    async def check(server: Http2Server, client: Client) -> None:
        client.send(window(0, 1 << 30), request(1, ECHO, ends=True), window(1, 1 << 30))
        await began.wait()
        stopping = asyncio.create_task(server.stop(20))  # which lets it end
        found = await client.to_the_end()
        await stopping
        assert body(found) == b"".join(framed(bytes([number]) * (1 << 18)) for number in range(64))
        assert status([frame for frame in found if frame.stream == 1]) == (0, "")

    began = asyncio.Event()
    serving(pour, check)


def test_the_service_that_has_a_method_serves_it() -> None:
    service = Handlers(echo)
    handler = find([grpc.method_handlers_generic_handler("other.Service", {}), service], ECHO)
    assert handler is not None and handler.stream_stream is echo
    assert find([service], "/other.Service/None") is None


def test_all_addresses_of_a_host_have_one_port() -> None:
    sockets = bound("localhost", 0)
    try:
        addresses = {each[4][0] for each in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        assert {each.getsockname()[0] for each in sockets} <= addresses and sockets
        assert len({each.getsockname()[1] for each in sockets}) == 1
    finally:
        for each in sockets:
            each.close()


def test_a_port_that_somebody_has_is_not_shared() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken, pytest.raises(OSError):
        bound("127.0.0.1", taken.getsockname()[1])
