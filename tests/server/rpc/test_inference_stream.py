"""How a stream of the Open Inference Protocol ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from headrace.errors import InvalidInput
from headrace.protos import inference_pb2 as pb
from headrace.server.models import Models
from headrace.server.rpc.inference_call import Call, Desk, Received
from headrace.server.rpc.inference_stream import InferStream
from headrace.server.transport.grpcio import Pulled

from ..fakes import SUM
from .context import Told
from .oip import ScriptedLane, echo, request, served, stream, with_models


async def never() -> AsyncIterator[Received]:
    await asyncio.Event().wait()
    yield pb.ModelInferRequest()


def test_a_stream_that_is_finished_before_it_reads_ends() -> None:
    async def test() -> None:
        told = Told()
        stream = InferStream(told, lambda call, received: None)
        run = asyncio.create_task(stream.run(Pulled(never())))
        await asyncio.sleep(0)  # it waits for answers; its reader has not begun
        stream.finish()
        await run
        assert stream.fault is None and told.messages == []

    asyncio.run(asyncio.wait_for(test(), 10))


def test_once_a_client_is_done_the_end_waits_for_its_last_answers() -> None:
    async def one() -> AsyncIterator[Received]:
        yield pb.ModelInferRequest()

    async def test() -> None:
        calls = list[Call]()
        stream = InferStream(told := Told(), lambda call, received: calls.append(call))
        running = asyncio.create_task(stream.run(Pulled(one())))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not running.done() and told.messages == []
        calls[0].submit(Desk(Models([])), InvalidInput("it took a while"), 0.0, 0.0)
        await running
        assert [response.error_message for response in told.messages] == ["it took a while"]

    asyncio.run(asyncio.wait_for(test(), 10))


def test_while_the_network_is_full_responses_wait_unwritten() -> None:
    """They count as under way then, so that a client that does not read is not read from."""

    async def two() -> AsyncIterator[Received]:
        yield pb.ModelInferRequest()
        yield pb.ModelInferRequest()

    async def test() -> None:
        calls = list[Call]()
        stream = InferStream(told := Told(room=False), lambda call, received: calls.append(call))
        running = asyncio.create_task(stream.run(Pulled(two())))
        for _ in range(20):
            await asyncio.sleep(0)
        for call in calls:
            call.submit(Desk(Models([])), InvalidInput("both at once"), 0.0, 0.0)
        await told.asked.wait()
        assert len(told.messages) == 1 and repr(stream) == "InferStream(under_way=1)"
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(asyncio.wait_for(test(), 10))


def test_a_fault_of_ours_is_kept_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(call: Call, received: Received) -> None:
        raise ZeroDivisionError("scripted")

    async def one() -> AsyncIterator[Received]:
        yield pb.ModelInferRequest()

    async def test() -> None:
        stream = InferStream(told := Told(), broken)
        await stream.run(Pulled(one()))
        assert isinstance(stream.fault, ZeroDivisionError) and told.messages == []

    asyncio.run(asyncio.wait_for(test(), 10))
    assert "ZeroDivisionError" in caplog.text


def test_a_fault_of_ours_ends_the_call_as_internal(caplog: pytest.LogCaptureFixture) -> None:
    times = iter([100.0])  # for the deadline of the call; the first request finds none left

    async def check(channel: grpc.aio.Channel) -> None:
        call = stream(channel)
        await call.write(request("sum"))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() is grpc.StatusCode.INTERNAL

    with_models(check, served(SUM, ScriptedLane(echo)), clock=lambda: next(times))
    assert "a request met a fault of ours" in caplog.text
