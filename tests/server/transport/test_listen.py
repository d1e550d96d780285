"""Stock clients cannot tell one transport from the other; and which of them is taken."""

from __future__ import annotations

import _ctypes
import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest

from headrace.errors import ConfigurationError
from headrace.server.transport.grpcio import GrpcioServer
from headrace.server.transport.http2 import Http2Server
from headrace.server.transport.library import library, needed
from headrace.server.transport.listen import Transport, authority, listen

from ..listening import MOST, SILENCE, channel_to, either, listening, started
from .peer import one_by_one

Status = grpc.StatusCode
LIMIT = 100_000


class Probe:
    """A service of all four kinds of calls. Mutable: `over`, once a call that waited has ended."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    def service(self) -> grpc.GenericRpcHandler:
        handlers = {
            "Upper": grpc.unary_unary_rpc_method_handler(self.upper),
            "Echo": grpc.stream_stream_rpc_method_handler(self.echo),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Join": grpc.stream_unary_rpc_method_handler(self.join),
            "Wait": grpc.stream_stream_rpc_method_handler(self.wait),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Left": grpc.unary_unary_rpc_method_handler(self.left),
        }
        handler: grpc.GenericRpcHandler = grpc.method_handlers_generic_handler("test.Probe", handlers)
        return handler

    async def upper(self, request: bytes, context: Any) -> bytes:
        return request.upper()

    async def echo(self, requests: Any, context: Any) -> None:
        async for request in one_by_one(requests):
            await context.write(request)

    async def count(self, request: bytes, context: Any) -> None:
        for number in range(int(request)):
            await context.write(b"%d" % number)

    async def join(self, requests: Any, context: Any) -> bytes:
        return b" ".join([request async for request in one_by_one(requests)])

    async def wait(self, requests: Any, context: Any) -> None:
        await context.write(b"waiting")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # what ends takes turns
            self.over.set()

    async def refuse(self, request: bytes, context: Any) -> None:
        await context.abort(Status.RESOURCE_EXHAUSTED, "full: 100 % \u00fc", (("retry-after-us", "7"),))

    async def fail(self, request: bytes, context: Any) -> bytes:
        raise KeyError("missing")

    async def left(self, request: bytes, context: Any) -> bytes:
        return repr(context.time_remaining()).encode()


def path(method: str) -> str:
    return f"/test.Probe/{method}"


def talking(transport: Transport, check: Callable[[grpc.aio.Channel, Probe], Coroutine[Any, Any, None]]) -> None:
    """Runs `check` with a channel to a probe."""

    async def main() -> None:
        probe = Probe()
        async with channel_to(probe.service(), transport=transport, most=LIMIT) as channel:
            await check(channel, probe)

    asyncio.run(asyncio.wait_for(main(), 30))


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


# What clients see


@either
def test_all_four_kinds_of_calls(transport: Transport) -> None:
    async def check(channel: grpc.aio.Channel, probe: Probe) -> None:
        assert await channel.unary_unary(path("Upper"))(b"word") == b"WORD"
        assert [each async for each in channel.unary_stream(path("Count"))(b"3")] == [b"0", b"1", b"2"]
        assert await channel.stream_unary(path("Join"))(iter([b"a", b"b"])) == b"a b"
        echoed = channel.stream_stream(path("Echo"))(iter([b"a", b"", b"c"]))
        assert [each async for each in echoed] == [b"a", b"", b"c"]
        assert await echoed.code() is Status.OK

    talking(transport, check)


@either
def test_a_conversation_of_many_messages_of_all_sizes(transport: Transport) -> None:
    async def check(channel: grpc.aio.Channel, probe: Probe) -> None:
        call = channel.stream_stream(path("Echo"))()
        sizes = [0, 1, 100, 16_379, 16_380, 65_536, LIMIT] * 8
        for number, size in enumerate(sizes):
            await call.write(bytes([number]) * size)
        for number, size in enumerate(sizes):
            assert await call.read() == bytes([number]) * size
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF

    talking(transport, check)


@either
def test_many_calls_at_once(transport: Transport) -> None:
    async def check(channel: grpc.aio.Channel, probe: Probe) -> None:
        upper = channel.unary_unary(path("Upper"))
        answers = await asyncio.gather(*(upper(b"word %d" % number) for number in range(200)))
        assert answers == [b"WORD %d" % number for number in range(200)]

    talking(transport, check)


@either
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests(transport: Transport, compression: grpc.Compression) -> None:
    async def check(channel: grpc.aio.Channel, probe: Probe) -> None:
        upper = channel.unary_unary(path("Upper"))
        assert await upper(b"a" * LIMIT, compression=compression) == b"A" * LIMIT
        over = await refusal(upper(b"a" * (LIMIT + 1), compression=compression))
        assert over.code() is Status.RESOURCE_EXHAUSTED

    talking(transport, check)


@either
def test_the_limit_of_a_message_is_exact(transport: Transport) -> None:
    async def check(channel: grpc.aio.Channel, probe: Probe) -> None:
        upper = channel.unary_unary(path("Upper"))
        assert len(await upper(b"a" * LIMIT)) == LIMIT
        assert (await refusal(upper(b"a" * (LIMIT + 1)))).code() is Status.RESOURCE_EXHAUSTED
        assert await upper(b"next") == b"NEXT"

    talking(transport, check)


@either
def test_refusals_and_faults(transport: Transport) -> None:
    async def check(channel: grpc.aio.Channel, probe: Probe) -> None:
        refused = await refusal(channel.unary_unary(path("Refuse"))(b""))
        assert (refused.code(), refused.details()) == (Status.RESOURCE_EXHAUSTED, "full: 100 % \u00fc")
        assert dict(refused.trailing_metadata() or ())["retry-after-us"] == "7"
        failed = await refusal(channel.unary_unary(path("Fail"))(b""))
        assert failed.code() is Status.UNKNOWN and "KeyError" in str(failed.details())
        assert (await refusal(channel.unary_unary(path("None"))(b""))).code() is Status.UNIMPLEMENTED
        assert (await refusal(channel.unary_unary("/no.Service/None")(b""))).code() is Status.UNIMPLEMENTED

    talking(transport, check)


@either
def test_handlers_know_the_time_that_is_left(transport: Transport) -> None:
    async def check(channel: grpc.aio.Channel, probe: Probe) -> None:
        left = channel.unary_unary(path("Left"))
        assert await left(b"") == b"None"
        assert 0 < float(await left(b"", timeout=20)) < 21  # clients round up

    talking(transport, check)


@either
def test_a_client_that_cancels_ends_its_handler(transport: Transport) -> None:
    async def check(channel: grpc.aio.Channel, probe: Probe) -> None:
        call = channel.stream_stream(path("Wait"))()
        assert await call.read() == b"waiting"
        call.cancel()
        await probe.over.wait()
        assert await channel.unary_unary(path("Upper"))(b"word") == b"WORD"

    talking(transport, check)


@either
def test_a_deadline_ends_call_and_handler(transport: Transport) -> None:
    async def check(channel: grpc.aio.Channel, probe: Probe) -> None:
        call = channel.stream_stream(path("Wait"))(timeout=0.2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [each async for each in call]
        assert caught.value.code() is Status.DEADLINE_EXCEEDED
        await probe.over.wait()

    talking(transport, check)


@either
def test_stock_clients_without_asyncio(transport: Transport) -> None:
    def ask(port: int) -> tuple[bytes, list[bytes]]:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            echoed = channel.stream_stream(path("Echo"))(iter([b"a", b"b"]), timeout=20)
            return channel.unary_unary(path("Upper"))(b"word", timeout=20), [*echoed]

    async def main() -> None:
        async with listening(Probe().service(), transport=transport) as port:
            assert await asyncio.to_thread(ask, port) == (b"WORD", [b"a", b"b"])

    asyncio.run(asyncio.wait_for(main(), 30))


# How it ends


@either
def test_a_server_that_stops_lets_calls_end_and_takes_no_new_connections(transport: Transport) -> None:
    async def main() -> None:
        server = await started(Probe().service(), transport=transport)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.stream_stream(path("Echo"))()
            await call.write(b"one")
            assert await call.read() == b"one"
            stopping = asyncio.create_task(server.stop(20))
            await asyncio.sleep(0)
            await call.write(b"two")
            assert await call.read() == b"two"
            assert not stopping.done()
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", server.port)
            await call.done_writing()
            assert await call.read() == grpc.aio.EOF and await call.code() is Status.OK
            await stopping

    asyncio.run(asyncio.wait_for(main(), 15))  # less than the grace: nobody waited for it


@either
def test_calls_that_do_not_end_are_ended_and_their_handlers_come_to_theirs(transport: Transport) -> None:
    async def main() -> None:
        probe = Probe()
        server = await started(probe.service(), transport=transport)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.stream_stream(path("Wait"))()
            assert await call.read() == b"waiting"
            await server.stop(0)
            await probe.over.wait()
            assert await call.code() in (Status.UNAVAILABLE, Status.CANCELLED)  # ours, gRPC's own

    asyncio.run(asyncio.wait_for(main(), 15))


# Where it listens


def kind(transport: Transport) -> type:
    async def main() -> type:
        server = await started(transport=transport)
        await server.stop(0)
        return type(server)

    return asyncio.run(main())


def test_the_transport_is_the_one_that_was_asked_for() -> None:
    assert kind("grpcio") is GrpcioServer
    assert kind("auto") is (GrpcioServer if library() is None else Http2Server)
    if library() is not None:
        assert kind("nghttp2") is Http2Server


@either
def test_a_port_in_use_is_named(transport: Transport) -> None:
    async def main() -> None:
        async with listening(transport=transport) as port:
            for other in ("grpcio", transport):
                with pytest.raises(ConfigurationError, match=f"port {port} of 127.0.0.1 cannot be used"):
                    await listen(other, "127.0.0.1", port, (), MOST, SILENCE)

    asyncio.run(main())


@either
def test_every_address_of_localhost_is_served(transport: Transport) -> None:
    async def main() -> None:
        server = await listen(transport, "localhost", 0, (Probe().service(),), MOST, SILENCE)
        for *_, address in socket.getaddrinfo("localhost", server.port, type=socket.SOCK_STREAM):
            async with grpc.aio.insecure_channel(authority(str(address[0]), server.port)) as channel:
                assert await channel.unary_unary(path("Upper"))(b"word", timeout=10) == b"WORD"
        await server.stop(0)

    asyncio.run(asyncio.wait_for(main(), 30))


# Without the library

ABSENT = """
import asyncio
from headrace.errors import ConfigurationError
from headrace.server.transport.library import needed
from headrace.server.transport.listen import listen
async def main():
    server = await listen("auto", "127.0.0.1", 0, (), 1000, 30.0)
    await server.stop(0)
    print(type(server).__name__)
    try:
        await listen("nghttp2", "127.0.0.1", 0, (), 1000, 30.0)
    except ConfigurationError as error:
        print(error)
    try:
        needed()
    except ModuleNotFoundError as error:
        print(error)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="libraries are looked for elsewhere")
@pytest.mark.parametrize("other", [False, True], ids=["no library", "one without the functions"])
def test_without_nghttp2_grpc_itself_serves_unless_nghttp2_was_asked_for(tmp_path: Path, other: bool) -> None:
    """A file of that name, before all others, hides the library."""
    file = tmp_path / "libnghttp2.so.14"
    file.symlink_to(_ctypes.__file__) if other else file.write_bytes(b"no library")
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    command = [sys.executable, "-c", ABSENT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    server, refused, missing = done.stdout.splitlines()
    assert server == "GrpcioServer"
    assert "nghttp2 is not installed" in refused and "--transport grpcio" in refused
    assert missing == "the library nghttp2 is not installed"


@pytest.mark.skipif(library() is None, reason="the library nghttp2 is not installed")
def test_the_library_is_found_once_and_is_the_one_that_is_needed() -> None:
    assert library() is library() is needed()
