"""The texts of one call, beside a connection that takes nothing."""

from __future__ import annotations

import asyncio
from math import inf

from headrace.protos import sequences_pb2 as pb
from headrace.server.rpc.generate_request import Reader
from headrace.server.rpc.pace import Pace
from headrace.server.rpc.texts import Texts

from .texts import LETTERS, writer


def test_who_does_not_read_is_not_written_for_any_longer() -> None:
    """A write that the caller holds up holds up the end of the call, but not that of its texts."""

    async def test() -> None:
        (model, (lane,)), held = writer(), asyncio.Event()

        async def write(reply: pb.GenerateReply) -> None:
            held.set()
            await asyncio.Event().wait()

        texts = Texts(model)
        texts.begin(Reader.of(LETTERS), pb.GenerateRequest(prompts=[pb.Prompt(text="a")], most=5), 0.0, inf)
        sending = asyncio.create_task(texts.send(write, Pace()))
        lane.say(lane.asked[0], (0, "a", None))
        await held.wait()
        for _ in range(20):
            lane.say(lane.asked[0], (0, "a" * (1 << 16), None))
        assert lane.left == [(lane.asked[0].sink, -1)]
        await model.answered()
        sending.cancel()
        await asyncio.wait([sending])

    asyncio.run(asyncio.wait_for(test(), 20))
