"""A bad row among good ones of one frame: it fails alone, by its code, and its sequence goes on unharmed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import pytest

from headrace.protos import sequences_pb2 as pb
from headrace.server.kept import MOST_STEPS
from headrace.server.models import Models
from headrace.spec import Input

from ..fakes import FEATURES, STATELESS_SUM, SUM, Clock
from .wire import Wire, model, opens, serving, stepping, sums

TOKENS = SUM.model_copy(
    update={"name": "tokens", "inputs": (Input(name="x", dtype="int64", shape=(FEATURES,), vocabulary=10),)}
)
CELLS = {"sum": "<f4", "tokens": "<i8"}
GOOD, BAD, LOST = (1, 3), 2, 9
LONGEST = SUM.chunk.longest


@dataclass(frozen=True, slots=True)
class Peer:
    """A stream with the sequences 1, 2 and 3 open, each after one step that adds 1."""

    wire: Wire
    clock: Clock
    model: str

    async def begin(self) -> None:
        await self.wire.ask(opens(*GOOD, BAD, model=self.model), 3)
        assert sums(await self.step((1, 0, [1]), (2, 0, [1]), (3, 0, [1]))) == {1: [1], 2: [1], 3: [1]}

    async def step(self, *rows: tuple[int, int, list[float]], acked: list[int] | None = None) -> pb.Reply:
        acks = b"" if acked is None else np.array(acked, "<i8").tobytes()
        return await self.wire.ask(stepping(rows, dtype=CELLS[self.model], acked=acks), len(rows))

    async def among_good(self, bad: tuple[int, int, list[float]], acked: int, position: int) -> pb.Error:
        """What the bad row is told; the good ones, before and behind it, are answered."""
        rows = [(GOOD[0], position, [1.0]), bad, (GOOD[1], position, [2.0])]
        reply = await self.step(*rows, acked=[position, acked, position])
        assert sums(reply) == {1: [position + 1], 3: [position + 2]}
        (error,) = reply.errors
        assert (error.key, error.position) == bad[:2]
        return error


Prelude = Callable[[Peer], Awaitable[None]]


async def nothing(peer: Peer) -> None:
    """The bad sequence stands at 1, and so does its sum."""


async def unacknowledged(peer: Peer) -> None:
    """It stands at 9; the replies to the last 8 steps are kept, and there is no room for another."""
    for position in range(1, 1 + MOST_STEPS):
        assert sums(await peer.step((BAD, position, [1]), acked=[1])) == {BAD: [position + 1]}


async def closed(peer: Peer) -> None:
    await peer.wire.ask(pb.Request(closes=np.array([BAD], "<u4").tobytes()), 1)


@dataclass(frozen=True, slots=True)
class Case:
    """bad: the row; stands: where its sequence goes on, which is its sum as well; None: it begins anew."""

    bad: tuple[int, int, list[float]]
    code: pb.ErrorCode
    stands: int | None = 1
    prelude: Prelude = nothing
    model: str = "sum"
    acked: int = 1


CASES = {
    "position ahead": Case((BAD, 2, [5]), pb.WRONG_POSITION),
    "position behind": Case((BAD, 0, [5, 5]), pb.WRONG_POSITION),
    "position below 0": Case((BAD, -1, [5]), pb.INVALID_INPUT),
    "position of the lanes' own": Case((BAD, -(2**63), [5]), pb.INVALID_INPUT),
    "no room for its reply": Case((BAD, 9, [5]), pb.OVERLOADED, stands=9, prelude=unacknowledged),
    "key that was never opened": Case((LOST, 1, [5]), pb.UNKNOWN_SEQUENCE),
    "key that is closed": Case((BAD, 1, [5]), pb.UNKNOWN_SEQUENCE, stands=None, prelude=closed),
    "NaN": Case((BAD, 1, [float("nan")]), pb.INVALID_INPUT),
    "length 0": Case((BAD, 1, []), pb.INVALID_INPUT),
    "length over the limit": Case((BAD, 1, [5] * (LONGEST + 1)), pb.INVALID_INPUT),
    "token below 0": Case((BAD, 1, [-1]), pb.INVALID_INPUT, model="tokens"),
    "token beyond the vocabulary": Case((BAD, 1, [10]), pb.INVALID_INPUT, model="tokens"),
}


def with_peer(model_name: str, test: Callable[[Peer], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = Clock()
        models = Models([model(clock), model(clock, TOKENS)])
        async with serving(models, clock) as (channel, _):
            peer = Peer(Wire(channel), clock, model_name)
            await peer.begin()
            await test(peer)

    asyncio.run(asyncio.wait_for(main(), 30))


async def goes_on(peer: Peer, position: int | None) -> None:
    """The sequence of the bad row takes its next step where it stood, with the state that it had."""
    if position is None:
        await peer.wire.ask(opens(BAD, model=peer.model), 1)
    at = position or 0
    assert sums(await peer.step((BAD, at, [1]))) == {BAD: [at + 1]}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_bad_row_fails_alone(case: Case) -> None:
    async def test(peer: Peer) -> None:
        await case.prelude(peer)
        error = await peer.among_good(case.bad, case.acked, position=1)
        assert error.code == case.code
        if case.code == pb.WRONG_POSITION:
            assert error.expected_position == case.stands
        await goes_on(peer, case.stands)

    with_peer(case.model, test)


def test_a_row_of_an_expired_sequence_fails_alone() -> None:
    async def test(peer: Peer) -> None:
        peer.clock.now += 400
        await peer.step((1, 1, [0]), (3, 1, [0]))
        peer.clock.now += 400
        told = await peer.wire.ask(stepping([(1, 2, [0]), (3, 2, [0])]), 3)  # brings on a look for idle ones
        assert [(e.key, e.HasField("position"), e.code) for e in told.errors] == [(BAD, False, pb.UNKNOWN_SEQUENCE)]
        reply = await peer.step((1, 3, [1]), (BAD, 1, [5]), (3, 3, [2]))
        assert sums(reply) == {1: [2], 3: [3]}
        assert [(e.key, e.position, e.code) for e in reply.errors] == [(BAD, 1, pb.UNKNOWN_SEQUENCE)]
        await goes_on(peer, None)

    with_peer("sum", test)


def test_a_position_below_0_is_never_applied_however_often_it_is_sent() -> None:
    async def test(peer: Peer) -> None:
        for _ in range(2):
            reply = await peer.step((BAD, -(2**63), [5]), (BAD, 1, [1]), acked=[-(2**63), 1])
            assert [e.code for e in reply.errors] == [pb.INVALID_INPUT]
        assert sums(reply) == {BAD: [2]}  # the second time from memory

    with_peer("sum", test)


def test_without_state_a_position_is_any_tag_and_a_closed_key_is_unknown() -> None:
    async def main() -> None:
        clock = Clock()
        async with serving(Models([model(clock, STATELESS_SUM, lanes=2)]), clock) as (channel, _):
            wire = Wire(channel)
            await wire.ask(opens(1, 2, model="stateless-sum"), 2)
            reply = await wire.ask(stepping([(1, -(2**63), [4])]), 1)
            assert np.frombuffer(reply.stepped[0].positions, "<i8").tolist() == [-(2**63)]
            await wire.ask(pb.Request(closes=np.array([1], "<u4").tobytes()), 1)
            reply = await wire.ask(stepping([(1, 5, [1]), (2, 5, [3])]), 2)
            assert sums(reply) == {2: [3]}
            assert [(e.key, e.position, e.code) for e in reply.errors] == [(1, 5, pb.UNKNOWN_SEQUENCE)]
            (error,) = (await wire.ask(pb.Request(closes=np.array([1], "<u4").tobytes()), 1)).errors
            assert (error.key, error.code) == (1, pb.UNKNOWN_SEQUENCE)
            await wire.ask(opens(1, model="stateless-sum"), 1)
            assert sums(await wire.ask(stepping([(1, 6, [2])]), 1)) == {1: [2]}

    asyncio.run(asyncio.wait_for(main(), 30))
