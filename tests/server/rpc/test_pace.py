"""Many calls are written to less often than few."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from headrace.protos import sequences_pb2 as pb
from headrace.server.models import Model
from headrace.server.rpc.generate_request import Reader
from headrace.server.rpc.pace import APART, Pace
from headrace.server.rpc.texts import Texts
from headrace.server.steps import Ending

from .texts import LETTERS, cells, writer


@pytest.mark.parametrize(("calls", "seconds"), [(1, None), (8, None), (9, 9 * APART), (100, 100 * APART)])
def test_few_calls_do_not_wait_and_many_do(calls: int, seconds: float | None) -> None:
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    pace = Pace(wait)
    with ExitStack() as stack:
        for _ in range(calls):
            stack.enter_context(pace.joined())
        asyncio.run(pace.pause())
    asyncio.run(pace.pause())  # all have left
    assert waited == ([] if seconds is None else [seconds])


def test_what_comes_in_a_pause_is_sent_behind_it_in_one() -> None:
    async def test() -> None:
        model, (lane,) = writer()
        paused, go_on = asyncio.Event(), asyncio.Event()

        async def wait(seconds: float) -> None:
            paused.set()
            await go_on.wait()

        pace, sent = Pace(wait), list[pb.GenerateReply]()

        async def write(reply: pb.GenerateReply) -> None:
            sent.append(reply)

        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(pace.joined())
            sending = asyncio.create_task(begun(model).send(write, pace))
            lane.say(lane.asked[0], (0, "a", None))
            await paused.wait()
            assert [cell.text for cell in cells(*sent)] == ["a"]
            lane.say(lane.asked[0], (0, "b", None))
            lane.say(lane.asked[0], (0, "c", Ending.END))
            go_on.set()
            await sending
        assert [[cell.text for cell in cells(reply)] for reply in sent] == [["a"], ["b", "c"]]

    asyncio.run(asyncio.wait_for(test(), 20))


def begun(model: Model) -> Texts:
    texts = Texts(model)
    texts.begin(Reader.of(LETTERS), pb.GenerateRequest(prompts=[pb.Prompt(text="a")], most=3), 0.0, 1.0)
    return texts
