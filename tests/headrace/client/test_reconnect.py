"""What a lost connection leaves of a client's work: all of it."""

from __future__ import annotations

import asyncio
from collections import deque

import numpy as np
import pytest

from headrace.bench.proxy import proxy
from headrace.client import Client, Sequence
from headrace.errors import (
    TakenOver,
    UnknownSequence,
)
from headrace.protos import sequences_pb2 as pb

from .fake import Cut, FakeServer
from .running import QUICK, one, served, total


@pytest.mark.parametrize("cut", list(Cut))
@pytest.mark.parametrize("at", range(4))
def test_a_cut_connection_loses_and_doubles_nothing(cut: Cut, at: int) -> None:
    async def work(sequence: Sequence) -> list[float]:
        burst = await asyncio.gather(*(total(sequence, 1 << n) for n in range(12)))  # at least two frames
        return burst + [await total(sequence, 1 << n) for n in range(12, 15)]  # at least one each

    async def main() -> None:
        async with served() as (server, client):
            sequences = [await client.open("sum", name) for name in "abc"]
            server.cuts = deque([*[None] * at, cut])
            sums = await asyncio.gather(*map(work, sequences))
            assert sums == [[(2 << n) - 1 for n in range(15)]] * 3
            assert [live.applied for live in server.live.values()] == [15, 15, 15]
            assert (server.connections, len(server.cuts)) == (2, 0)

    asyncio.run(main())


def test_many_cuts_in_a_row() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum", "a")
            server.cuts = deque([Cut.UNANSWERED, Cut.BEFORE, Cut.UNANSWERED, Cut.WITHIN])
            assert await asyncio.gather(*(total(s, 1) for _ in range(6))) == [1, 2, 3, 4, 5, 6]
            assert (server.live["a"].applied, server.connections) == (6, 5)
            assert {o.mode for f in server.frames[1:] for o in f.opens} == {pb.REJOIN}

    asyncio.run(main())


def test_a_connection_that_died_in_silence_is_made_anew() -> None:
    async def main() -> None:
        brief = QUICK.model_copy(update={"keepalive": 0.1})
        async with (
            FakeServer() as server,
            proxy(server.address) as (network, address),
            Client(address, brief) as client,
        ):
            s = await client.open("sum", "a")
            assert await total(s, 1) == 1
            network.freeze()
            assert await total(s, 2) == 3  # well before the step's own patience of 30 s
            assert server.connections == 2

    asyncio.run(main())


def test_who_was_taken_over_while_away_is_told() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum", "a")
            assert await total(s, 1) == 1
            server.live["a"].incarnation += 1  # another client resumed it
            server.cuts = deque([Cut.BEFORE])
            with pytest.raises(TakenOver):
                await total(s, 1)
            assert server.live["a"].applied == 1

    asyncio.run(main())


def test_stateless_rows_are_asked_again() -> None:
    async def main() -> None:
        async with served() as (server, client):
            server.cuts = deque([Cut.UNANSWERED, Cut.BEFORE])
            rows = await asyncio.gather(*(client.infer("mean", one(n)) for n in range(5)))
            assert [float(np.asarray(r)[0]) for r in rows] == [0, 1, 2, 3, 4]
            assert server.connections == 3

    asyncio.run(main())


def test_a_server_that_comes_back_on_the_same_port_goes_on() -> None:
    async def main() -> None:
        server = FakeServer()
        async with server, Client(server.address, QUICK) as client:
            s = await client.open("sum", "a")
            await total(s, 1)
            await server.__aexit__()
            step = asyncio.create_task(total(s, 2))
            await server.__aenter__()
            assert await step == 3

    asyncio.run(main())


def test_a_sequence_that_the_server_lost_is_told_and_can_be_reset() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum", "a")
            await total(s, 1)
            server.paused = True
            steps = [asyncio.create_task(total(s, 1)) for _ in range(3)]
            await server.until(lambda: len(server.queue) == 3)
            server.live.clear()
            server.cut()
            for result in await asyncio.gather(*steps, return_exceptions=True):
                assert isinstance(result, UnknownSequence) and "did not outlive the lost connection" in str(result)
            server.paused = False
            await s.reset()
            assert await total(s, 4) == 4

    asyncio.run(main())
