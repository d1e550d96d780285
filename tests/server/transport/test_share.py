"""Many streams of a connection take no more of the event loop than one."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

from headrace.server.transport.messages import framed
from headrace.server.transport.share import TURN, Share

from .frames import data, needs_nghttp2, request
from .peer import ECHO, Peer, run, streaming, terms


class Clock:
    """A clock that stands still. Mutable: `now`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Work:
    """Takes half a turn and a little. Mutable: `done`, whose it was."""

    def __init__(self, share: Share, clock: Clock) -> None:
        self._share, self._clock, self.done = share, clock, list[int]()

    def queue(self, who: int) -> None:
        self._share.wait(lambda: self._do(who))

    def _do(self, who: int) -> None:
        self._clock.now += 0.6 * TURN
        self.done.append(who)
        self.queue(who)


def test_those_who_wait_go_on_in_their_order_until_a_turn_is_over() -> None:
    async def test() -> None:
        share = Share(clock := Clock())
        work = Work(share, clock)
        for who in range(3):
            work.queue(who)
        assert work.done == [] and repr(share) == "Share(waiting=3)"
        turns = []
        for _ in range(3):
            await asyncio.sleep(0)
            turns.append(list(work.done))
        assert turns == [[0, 1], [0, 1, 2, 0], [0, 1, 2, 0, 1, 2]]

    run(test())


def test_nobody_goes_on_twice_in_a_turn() -> None:
    async def test() -> None:
        share, seen = Share(Clock()), list[int]()

        def go_on() -> None:
            seen.append(1)
            share.wait(go_on)

        share.wait(go_on)
        for turn in range(3):
            assert len(seen) == turn
            await asyncio.sleep(0)

    run(test())


def test_a_turn_begins_and_is_over() -> None:
    share = Share(clock := Clock())
    share.begin()
    assert not share.over
    clock.now = 1.1 * TURN
    assert share.over


@needs_nghttp2
def test_the_messages_of_many_streams_that_came_at_once_share_a_turn() -> None:
    async def test() -> None:
        taken, streams = list[bytes](), range(1, 41, 2)

        def take(message: bytes) -> bool:
            taken.append(message)
            until = time.monotonic() + 0.6 * TURN
            while time.monotonic() < until:
                pass
            return True

        async def handle(requests: Any, context: Any) -> None:
            await requests.each(take)

        peer = Peer(terms(streaming(handle)))
        peer.send(*(request(stream, ECHO) for stream in streams))
        await asyncio.sleep(0)
        peer.send(*(data(stream, framed(b"%d" % stream) * 2) for stream in streams))
        turns = [len(taken)]
        while len(taken) < 2 * len(streams):
            await asyncio.sleep(0)
            turns.append(len(taken))
        assert max(after - before for before, after in pairwise([0, *turns])) <= 2
        assert sorted(taken) == sorted(2 * [b"%d" % stream for stream in streams])
        await peer.leave()

    run(test())
