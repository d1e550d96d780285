"""Frames stay within what the server reads, whatever they carry."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from headrace.client import Client, Settings
from headrace.client.ledger import Ledger
from headrace.client.outbox import SPLIT
from headrace.errors import ConfigurationError, HeadraceError, InvalidInput
from headrace.protos import sequences_pb2 as pb

from .fake import FakeServer
from .line import Line, outcome
from .running import QUICK, served, total

SMALL = 300


def test_no_part_of_a_frame_makes_it_larger_than_the_server_reads() -> None:
    async def main() -> None:
        server = FakeServer()
        server.frame_bytes = SMALL
        async with server, Client(server.address, QUICK) as client:
            sequences = await asyncio.gather(*(client.open("sum", f"sequence-{n}") for n in range(50)))
            await asyncio.gather(*(total(s, 1) for s in sequences))
            server.cut()  # all of them are opened again
            assert await asyncio.gather(*(total(s, 1) for s in sequences)) == [2] * 50
            server.paused = True
            steps = [asyncio.create_task(total(s, 1)) for s in sequences]
            await server.until(lambda: len(server.queue) == 50)
            for step in steps:
                step.cancel()
            await asyncio.gather(*(s.close() for s in sequences))
            assert (server.live, server.connections) == ({}, 2)
            assert max(frame.ByteSize() for frame in server.frames) <= SMALL

    asyncio.run(main())


def test_frames_stay_below_the_client_s_own_size_too() -> None:
    async def main() -> None:
        async with FakeServer() as server, Client(server.address, Settings(frame_bytes=SMALL)) as client:
            sequences = [await client.open("sum") for _ in range(20)]
            await asyncio.gather(*(total(s, 1) for s in sequences))
            assert max(frame.ByteSize() for frame in server.frames) <= SMALL

    asyncio.run(main())


def test_what_fits_into_no_frame_fails_alone() -> None:
    async def main() -> None:
        server = FakeServer()
        server.frame_bytes = SMALL
        async with server, Client(server.address, QUICK) as client:
            s = await client.open("sum", "a")
            with pytest.raises(InvalidInput, match=r"a step of 444 bytes does not fit into a frame, .* 300 here"):
                await s.step(np.zeros((50, 2)))
            with pytest.raises(InvalidInput, match=r"an open of .* bytes does not fit"):
                await client.open("sum", "b", tenant="t" * SMALL)
            assert (await total(s, 1), server.connections) == (1, 1)
            await client.open("sum", "b")
            assert [o.key for frame in server.frames for o in frame.opens] == [0, 1]

    asyncio.run(main())


def test_a_server_that_comes_back_with_a_smaller_limit_is_heeded() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum", "a")
            server.paused = True
            large = asyncio.create_task(s.step(np.ones((50, 2))))
            await server.until(lambda: len(server.queue) == 1)
            server.frame_bytes, server.paused = SMALL, False
            server.cut()
            with pytest.raises(InvalidInput, match="300 here"):
                await large
            assert (await total(s, 1), server.live["a"].applied) == (1, 1)

    asyncio.run(main())


def test_a_smaller_limit_that_shows_by_a_refusal_alone_is_heeded() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum", "a")
            server.frame_bytes = SMALL
            steps = [asyncio.create_task(total(s, 1)) for _ in range(8)]
            assert await asyncio.gather(*steps) == [*range(1, 9)]
            assert server.connections == 2

    asyncio.run(main())


def test_a_server_that_refuses_every_frame_is_not_asked_for_ever() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum", "a")
            server.paused = True
            step = asyncio.create_task(total(s, 1))
            await server.until(lambda: len(server.queue) == 1)
            server.say(pb.Reply(errors=[pb.Error(code=pb.INVALID_INPUT, message="garbled")]))
            with pytest.raises(HeadraceError, match=r"cannot go on .*could not read a frame: garbled"):
                await step
            with pytest.raises(HeadraceError, match="cannot go on"):
                await asyncio.wait_for(client.open("sum", "b"), 1)
            assert server.connections == 1

    asyncio.run(main())


def test_a_reply_that_does_not_fit_the_model_ends_the_client() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum", "a")
            server.paused = True
            step = asyncio.create_task(total(s, 1))
            await server.until(lambda: len(server.queue) == 1)
            short = pb.Stepped(keys=bytes(4), positions=bytes(8), lengths=np.int64(1).tobytes(), values=[bytes(3)])
            server.say(pb.Reply(stepped=[short]))
            with pytest.raises(HeadraceError, match=r"cannot go on .*has 3 bytes"):
                await step
            assert server.connections == 1

    asyncio.run(main())


def test_settings_tell_every_problem_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"client's settings: patience: .*; backoff_longest: .*; typo: "):
        Settings.model_validate({"patience": -1, "backoff_longest": float("inf"), "typo": 1})


def test_steps_do_not_keep_cancels_and_closes_from_going_out(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop, frame_bytes=200)
    ledger = line.open()
    sent, *_ = [line.submit(ledger, 1) for _ in range(8)]
    line.server.paused = True
    line.write()
    other = line.open("b")
    for _ in range(8):
        line.submit(other, 1)
    sent.answer.cancel()
    line.session.give_up(ledger, sent)
    frame = line.session.next_frame(line.now)
    assert frame is not None and frame.cancels.keys and frame.steps.keys
    assert outcome(sent) is asyncio.CancelledError


def test_a_frame_has_no_more_rows_than_a_server_may_have_room_for(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledgers = [line.open(f"{n}") for n in range(2100)]
    steps = [line.submit(ledger, 1) for ledger in ledgers]
    line.exchange()
    assert next(len(told.keys) // 4 for told in line.frames if told.keys) == 1024
    assert {outcome(step) for step in steps} == {1}


def written(line: Line) -> list[int]:
    """Rows of each frame that is to be written now."""
    line.frames.clear()
    while line.write():
        pass
    return [len(told.keys) // 4 for told in line.frames]


def callers(line: Line, count: int) -> list[Ledger]:
    """So many, each with a step that waits."""
    ledgers = [line.open(f"{n}") for n in range(count)]
    for ledger in ledgers:
        line.submit(ledger, 1)
    return ledgers


def test_half_of_the_callers_are_written_while_the_other_half_is_computed(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledgers = callers(line, 200)
    assert written(line) == [100, 100]
    for half in (ledgers[:100], ledgers[100:]):
        reply = line.stream.replies.get_nowait()
        assert reply is not None
        line.session.receive(reply, line.now)
        for ledger in half:
            line.submit(ledger, 1)
        assert written(line) == [100]


def test_a_new_stream_has_nothing_under_way(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    callers(line, 200)
    assert written(line) == [100, 100]
    line.break_off()
    line.exchange()  # all of them are opened again, and what was not answered goes out again
    assert max(len(told.keys) // 4 for told in line.frames) == 100


def test_rows_count_and_not_who_asks_for_them(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open("")
    for _ in range(200):
        line.submit(ledger, 1)
    assert written(line) == [100, 100]


def test_few_callers_share_a_frame(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    callers(line, SPLIT)
    assert written(line) == [SPLIT]


def test_those_who_wait_longest_are_in_the_next_frame(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    line.session.limit(0, 2)
    ledgers = [line.open(f"{n}") for n in range(5)]
    line.frames.clear()
    for ledger in (*ledgers, ledgers[0]):
        line.submit(ledger, 1)
    line.write()
    line.submit(ledgers[1], 1)
    line.exchange()
    keys = [np.frombuffer(told.keys, "<u4").tolist() for told in line.frames]
    assert keys == [[0, 0], [1, 1], [2, 3], [4]]
