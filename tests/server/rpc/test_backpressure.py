"""Nothing of a connection grows without bound: neither what its lanes are asked, nor what waits to be written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from headrace.protos import sequences_pb2 as pb
from headrace.server.commands import Barrier, Cancel, Close, Command, Open, Step
from headrace.server.gate import Gate
from headrace.server.models import Model, Models
from headrace.server.rpc.context import StreamContext
from headrace.server.rpc.stream import Stream
from headrace.server.steps import Opened
from headrace.server.transport.grpcio import Pulled

from ..fakes import STATELESS_SUM, SUM, Clock
from .context import Told
from .oip import ScriptedLane, echo, served
from .wire import model, opens, stepping, sums

KEY = np.array([1], "<u4").tobytes()
POSITION = np.array([0], "<i8").tobytes()
BOUND = 4
ROUNDS = 200  # turns of the event loop that a reader which is not held up would use


@dataclass
class Flood:
    """Frames without end. `read`: how many were read."""

    frame: pb.Request
    read: int = 0

    async def frames(self) -> AsyncIterator[pb.Request]:
        yield opens(1)
        while True:
            self.read += 1
            yield self.frame
            await asyncio.sleep(0)


def stream_of(model: Model, context: StreamContext) -> Stream:
    return Stream(context, Models([model]), Gate(BOUND, "on this connection"), BOUND, Clock())


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (opens(1), Open),
        (pb.Request(cancels=pb.Cancels(keys=KEY, positions=POSITION)), Cancel),
        (pb.Request(closes=KEY), Close),
    ],
)
def test_who_asks_faster_than_a_lane_works_is_not_read_from(frame: pb.Request, kind: type[Command]) -> None:
    async def test() -> None:
        lane, flood = ScriptedLane(), Flood(frame)
        stream = stream_of(served(SUM, lane), Told())
        reading = asyncio.create_task(stream.run(Pulled(flood.frames())))
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        assert flood.read == BOUND  # with the first open one more than may be
        assert sum(isinstance(command, kind) for command in lane.posted) >= BOUND
        for command in lane.posted:
            if isinstance(command, Barrier):
                command.done()  # all is handled
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        assert BOUND < flood.read <= 2 * BOUND + 1
        reading.cancel()
        await asyncio.wait([reading])

    asyncio.run(asyncio.wait_for(test(), 20))


def test_who_does_not_read_what_opens_are_answered_is_not_read_from() -> None:
    async def test() -> None:
        clock = Clock()
        summing, flood = model(clock), Flood(opens(1))
        lane, tell = summing.lanes[0], asyncio.get_running_loop().call_soon_threadsafe
        try:
            told = Told(room=False)
            running = asyncio.create_task(stream_of(summing, told).run(Pulled(flood.frames())))
            await told.asked.wait()  # and no more is taken
            for _ in range(ROUNDS):
                handled = asyncio.Event()
                lane.post(Barrier(partial(tell, handled.set)))
                await handled.wait()
            assert flood.read <= 3 * BOUND + 2  # one batch taken, one unread, one in the lane
            running.cancel()
            await asyncio.wait([running])
        finally:
            lane.stop()

    asyncio.run(asyncio.wait_for(test(), 20))


@dataclass(eq=False)
class AnsweringLane(ScriptedLane):
    """Answers opens and steps, and passes barriers, as a lane does."""

    def post(self, command: Command) -> None:
        super().post(command)
        soon = asyncio.get_running_loop().call_soon
        if isinstance(command, Open):
            soon(self.deliver, [(command.sink, Opened(command.key, "1", 0, resumed=False))])
        elif isinstance(command, Barrier):
            soon(command.done)


class Later(Told):
    """Has room once it `may`."""

    def __init__(self) -> None:
        super().__init__(room=False)
        self.may = asyncio.Event()

    async def room(self) -> None:
        await self.may.wait()


def test_who_reads_again_is_read_from_again() -> None:
    async def test() -> None:
        flood, told = Flood(opens(1)), Later()
        running = asyncio.create_task(stream_of(served(SUM, AnsweringLane()), told).run(Pulled(flood.frames())))
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        held = flood.read
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        assert flood.read == held
        told.may.set()
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        assert flood.read > held + BOUND
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(asyncio.wait_for(test(), 20))


def test_steps_without_state_go_to_each_lane_in_turn() -> None:
    async def requests() -> AsyncIterator[pb.Request]:
        yield opens(1, model="stateless-sum")
        for tag in range(6):
            yield stepping([(1, tag, [tag])])
            await asyncio.sleep(0)

    async def test() -> None:
        lanes = [AnsweringLane(echo), AnsweringLane(echo)]
        told, merged = Told(), pb.Reply()
        stream = Stream(told, Models([served(STATELESS_SUM, *lanes)]), Gate(100, "here"), 100, Clock())
        await stream.run(Pulled(requests()))
        for reply in told.messages:
            merged.MergeFrom(reply)
        assert sums(merged) == {1: [0, 1, 2, 3, 4, 5]}
        assert [sum(isinstance(c, Step) for c in lane.posted) for lane in lanes] == [3, 3]
        assert [lane.left for lane in lanes] == [[(stream, -1)], [(stream, -1)]]

    asyncio.run(asyncio.wait_for(test(), 20))


def test_once_a_client_is_done_the_end_waits_for_its_last_answers() -> None:
    async def requests() -> AsyncIterator[pb.Request]:
        yield opens(1, model="stateless-sum")
        yield stepping([(1, 0, [5])])

    async def test() -> None:
        lane, told = ScriptedLane(), Told()
        stream = stream_of(served(STATELESS_SUM, lane), told)
        running = asyncio.create_task(stream.run(Pulled(requests())))
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        assert not running.done() and told.messages == []
        for command in lane.posted:
            if isinstance(command, Step):
                lane.deliver(echo(command.steps))
            elif isinstance(command, Barrier):
                command.done()
        await running
        assert [sums(reply) for reply in told.messages] == [{1: [5]}]

    asyncio.run(asyncio.wait_for(test(), 20))
