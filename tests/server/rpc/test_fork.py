"""Forks on the wire: where copies may live, what the lane is asked, and what the caller hears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from headrace.errors import AlreadyExists
from headrace.protos import sequences_pb2 as pb
from headrace.server.commands import Barrier, Command, Fork, Leave
from headrace.server.models import Model
from headrace.server.steps import Answers, Failed, Opened

from ..fakes import STATELESS_SUM, SUM
from .oip import served
from .texts import WritingLane, fork, writing

ASKED = {"model": "sum", "id": "a", "copies": ["a~1", "a~2"], "incarnation": 9}


class ForkingLane(WritingLane):
    """Answers forks as told."""

    def __init__(self, answer: Callable[[Fork], Answers]) -> None:
        super().__init__()
        self._answer = answer

    def post(self, command: Command) -> None:
        if isinstance(command, Fork):
            asyncio.get_running_loop().call_soon(self.deliver, self._answer(command))
        super().post(command)


def done(command: Fork) -> Answers:
    return [(command.sink, Opened(key, "1", 5, resumed=False)) for key in command.keys]


def refused(command: Fork) -> Answers:
    return [(command.sink, Failed(key, None, AlreadyExists("taken"))) for key in command.keys]


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def model(answer: Callable[[Fork], Answers] = done, lanes: int = 1) -> tuple[Model, list[ForkingLane]]:
    made = [ForkingLane(answer) for _ in range(lanes)]
    return served(SUM, *made, queued=6), made


def test_copies_stand_where_their_source_does_and_have_no_owner() -> None:
    async def test() -> None:
        sums, (lane,) = model()
        async with writing(sums) as channel:
            reply = await fork(channel, **ASKED, tenant="t")
            assert (reply.position, reply.version, reply.HasField("error")) == (5, "1", False)
            command, leave, barrier = lane.posted
            assert isinstance(command, Fork) and isinstance(leave, Leave) and isinstance(barrier, Barrier)
            assert (command.name, command.names) == (("t", "a"), (("t", "a~1"), ("t", "a~2")))
            assert (command.keys, command.incarnation, leave.sink) == ((0, 1), 9, command.sink)
            await sums.answered()

    run(test())


def test_a_fork_goes_to_its_sources_lane_and_so_do_its_copies() -> None:
    async def test() -> None:
        sums, lanes = model(lanes=5)
        async with writing(sums) as channel:
            for id in ("a", "b", "c", "a~1"):
                copies = [f"{id[0]}~{n}" for n in range(3, 6)]
                await fork(channel, model="sum", id=id, copies=copies)
                lane = sums.lane(("", id))
                assert {sums.lane(("", copy)) for copy in copies} == {lane} and lane.posted
        assert sum(bool(lane.posted) for lane in lanes) > 1

    run(test())


def test_a_refusal_of_the_lane_has_its_code() -> None:
    async def test() -> None:
        sums, _ = model(refused)
        async with writing(sums) as channel:
            reply = await fork(channel, **ASKED)
            assert (reply.error.code, reply.error.message, reply.version) == (pb.ALREADY_EXISTS, "taken", "")
            await sums.answered()

    run(test())


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"model": "none"}, pb.UNKNOWN_MODEL, "none"),
        ({"model": "stateless-sum"}, pb.INVALID_INPUT, "no state"),
        ({"id": ""}, pb.INVALID_INPUT, "empty"),
        ({"tenant": "\0"}, pb.INVALID_INPUT, "NUL"),
        ({"copies": []}, pb.INVALID_INPUT, "at least one"),
        ({"copies": ["a~1", "b"]}, pb.INVALID_INPUT, "begins with 'a~'; 'b'"),
        ({"copies": ["a"]}, pb.INVALID_INPUT, "begins with 'a~'"),
        ({"id": "a~1", "copies": ["a~1~1", "b~"]}, pb.INVALID_INPUT, "begins with 'a~'; 'b~'"),
        ({"copies": ["a~" + "x" * 127]}, pb.INVALID_INPUT, "128 bytes"),
        ({"copies": [f"a~{n}" for n in range(7)]}, pb.INVALID_INPUT, "at most 6"),
    ],
)
def test_what_reaches_no_lane_is_refused(fields: dict[str, Any], code: pb.ErrorCode, word: str) -> None:
    async def test() -> None:
        (sums, (lane,)), stateless = model(), served(STATELESS_SUM, WritingLane())
        async with writing(sums, stateless) as channel:
            reply = await fork(channel, **{**ASKED, **fields})
            assert (reply.error.code, word in reply.error.message) == (code, True)
            assert not lane.posted

    run(test())


@pytest.mark.parametrize(
    ("message", "word"),
    [(b"\xff", "no ForkRequest"), (b"\x12\x01\xff", "no ForkRequest"), (b"\x12\x00" * 3000, "over the limit")],
)
def test_bytes_that_are_no_messageare_refused_in_words(message: bytes, word: str) -> None:
    async def test() -> None:
        sums, (lane,) = model()
        async with writing(sums) as channel:
            call = channel.unary_unary("/headrace.v1.Sequences/Fork", response_deserializer=pb.ForkReply.FromString)
            reply = await call(message)
            assert (reply.error.code, word in reply.error.message) == (pb.INVALID_INPUT, True)
            assert not lane.posted

    run(test())


def test_a_server_that_ends_refuses_forks() -> None:
    async def test() -> None:
        sums, _ = model()
        sums.draining = True
        async with writing(sums) as channel:
            assert (await fork(channel, **ASKED)).error.code == pb.UNAVAILABLE

    run(test())
