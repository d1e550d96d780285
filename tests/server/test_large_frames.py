"""What a client sees of a frame that is too large: an error in its stream, or the end of that stream alone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import numpy as np
import pytest

from headrace.protos import sequences_pb2 as pb
from headrace.server.app import HARD_LIMIT, running
from headrace.server.settings import Settings

from .rpc.wire import Wire

FRAME_BYTES = 1000
OPEN = pb.Open(key=1, model="tiny-gru", id="a", incarnation=7)
REJOIN = pb.Open(key=1, model="tiny-gru", id="a", incarnation=7, mode=pb.REJOIN)


def step(position: int) -> pb.Request:
    """One time step of tiny-gru's three features."""
    cells = {"positions": np.array([position], "<i8").tobytes(), "lengths": np.array([1], "<i8").tobytes()}
    keys, values = np.array([1], "<u4").tobytes(), np.ones(3, "<f4").tobytes()
    return pb.Request(steps=pb.Steps(keys=keys, values=[values], **cells))


def with_server(models: Path, folder: Path, test: Callable[[grpc.aio.Channel], Awaitable[None]]) -> None:
    shutil.copytree(models / "tiny-gru", folder / "tiny-gru")

    async def main() -> None:
        settings = Settings(models=folder, port=0, metrics_port=0, frame_bytes=FRAME_BYTES)
        async with running(settings) as app, grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
            await test(channel)

    asyncio.run(asyncio.wait_for(main(), 30))


def positions(reply: pb.Reply) -> list[int]:
    return [int(p) for stepped in reply.stepped for p in np.frombuffer(stepped.positions, "<i8")]


@pytest.mark.parametrize("size", [FRAME_BYTES + 1, HARD_LIMIT * FRAME_BYTES])
def test_up_to_the_hard_limit_it_is_an_error_and_the_stream_goes_on(models: Path, tmp_path: Path, size: int) -> None:
    async def test(channel: grpc.aio.Channel) -> None:
        wire = Wire(channel)
        await wire.ask(pb.Request(opens=[OPEN]), 1)
        await wire.ask(step(0), 1)
        (error,) = (await wire.ask(b"\0" * size, 1)).errors
        assert (error.code, error.HasField("key")) == (pb.INVALID_INPUT, False)
        assert f"a message of {size} bytes is over the limit of {FRAME_BYTES}" in error.message
        assert positions(await wire.ask(step(1), 1)) == [1]

    with_server(models, tmp_path, test)


def test_beyond_it_the_stream_ends_and_its_sequences_can_be_rejoined(models: Path, tmp_path: Path) -> None:
    async def test(channel: grpc.aio.Channel) -> None:
        wire, other = Wire(channel), Wire(channel)
        await wire.ask(pb.Request(opens=[OPEN]), 1)
        await wire.ask(step(0), 1)
        await wire.send(b"\0" * (HARD_LIMIT * FRAME_BYTES + 1))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await wire.read()
        assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        (opened,) = (await other.ask(pb.Request(opens=[REJOIN]), 1)).opened
        assert (opened.position, opened.resumed) == (1, True)
        assert positions(await other.ask(step(1), 1)) == [1]

    with_server(models, tmp_path, test)
