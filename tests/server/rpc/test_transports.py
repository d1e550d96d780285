"""Either face over either transport; all other tests take the one that a server would take by itself."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np

from headrace.protos import inference_pb2 as inference
from headrace.protos import sequences_pb2 as pb
from headrace.server.models import Models
from headrace.server.rpc.inference import InferenceService
from headrace.server.steps import Ending
from headrace.server.transport.listen import Transport

from ..fakes import SUM, Clock
from ..listening import either
from . import oip
from .texts import cells, generate, writer, writing
from .wire import Wire, model, opens, serving, stepping, sums


@either
def test_frames(transport: Transport) -> None:
    async def test() -> None:
        clock = Clock()
        async with serving(Models([model(clock)]), clock, transport=transport) as (channel, _):
            wire = Wire(channel)
            frame = opens(1, 2)
            frame.MergeFrom(stepping([(1, 0, [1, 2]), (2, 0, [5])]))
            assert sums(await wire.ask(frame, 4)) == {1: [1, 3], 2: [5]}
            await wire.send(stepping([(1, 2, [1])]))
            (reply,) = await wire.done()
            assert sums(reply) == {1: [4]}

    asyncio.run(asyncio.wait_for(test(), 20))


@either
def test_texts(transport: Transport) -> None:
    async def test() -> None:
        writes, (lane,) = writer()
        async with writing(writes, transport=transport) as channel:
            call = generate(channel, [pb.Prompt(text="ab")])
            await lane.until(lambda lane: bool(lane.posted))
            lane.say(lane.asked[0], (0, "ca", None))
            assert [text.text for text in cells(await call.read())] == ["ca"]
            lane.say(lane.asked[0], (0, "b", Ending.MOST))
            assert [text.text for text in cells(await call.read())] == ["b"]
            assert await call.read() is grpc.aio.EOF

    asyncio.run(asyncio.wait_for(test(), 20))


@either
def test_open_inference(transport: Transport) -> None:
    x = np.ones((2, 2), np.float32)

    async def test() -> None:
        service = InferenceService(Models([oip.served(SUM, oip.ScriptedLane(oip.echo))]), Clock())
        async with oip.serving(service, transport) as channel:
            asked = oip.request("sum", x, sequence_id=1)
            assert (oip.tensors(await oip.infer(channel, asked))["y"] == x).all()
            call = oip.stream(channel)
            await call.write(asked)
            answer: inference.ModelStreamInferResponse = await call.read()
            assert (oip.tensors(answer.infer_response)["y"] == x).all()
            await call.write(oip.request("none", x))
            answer = await call.read()
            assert "none" in answer.error_message  # and the stream lives on
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF

    asyncio.run(asyncio.wait_for(test(), 20))
