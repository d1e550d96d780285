from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from headrace.server.transport.grpcio import Queued, options


def test_grpc_knows_every_option() -> None:
    """It ignores those it does not know, without a word; so their names are looked for in its library."""
    library = next(Path(grpc.__file__).parent.glob("_cython/cygrpc*")).read_bytes()
    names = [name for name, _ in options(1000, 30.0)]
    assert names and [name for name in names if name.encode() + b"\0" not in library] == []
    assert b"grpc.no_such_option\0" not in library


def test_times_are_told_in_milliseconds() -> None:
    told = dict(options(1000, 0.25))
    assert told["grpc.keepalive_time_ms"] == told["grpc.http2.ping_timeout_ms"] == 250
    assert told["grpc.max_receive_message_length"] == 1000


class Writer:
    """Takes answers one by one, each in a turn of its own."""

    def __init__(self) -> None:
        self.written = list[bytes]()

    async def write(self, answer: bytes) -> None:
        await asyncio.sleep(0)
        self.written.append(answer)


def test_answers_are_written_in_order_when_room_is_asked_for() -> None:
    async def test() -> None:
        queued = Queued(writer := Writer())
        assert not queued.send(b"one") and not queued.send(b"two")
        assert writer.written == []
        await queued.room()
        assert writer.written == [b"one", b"two"]

    asyncio.run(test())
