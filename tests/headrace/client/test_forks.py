"""Forks: sequences of their own that stand where their source stood."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from headrace.errors import InvalidInput, UnknownSequence
from headrace.protos import sequences_pb2 as pb

from .running import served, total


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def test_forks_go_on_each_on_its_own() -> None:
    async def test() -> None:
        async with served() as (server, client):
            source = await client.open("sum", "a")
            await total(source, 1)
            first, second = await source.fork(2)
            assert {first.position, second.position} == {1} and first.version == source.version
            assert (await total(first, 2), await total(second, 3), await total(source, 4)) == (3, 4, 5)
            assert all(fork.id.startswith("a~") for fork in (first, second)) and first.id != second.id
            (third,) = await first.fork()
            assert third.id.startswith("a~") and third.id.count("~") == 1
            assert (third.position, await total(third, 1)) == (2, 4)
            await first.close()
            assert first.id not in server.live and second.id in server.live

    run(test())


def test_forks_may_be_named_and_survive_a_lost_connection() -> None:
    async def test() -> None:
        async with served() as (server, client):
            source = await client.open("sum", "a")
            await total(source, 1)
            (fork,) = await source.fork(["a~b"])
            server.cut()
            assert (fork.id, await total(fork, 2)) == ("a~b", 3)
            (other,) = await source.fork("a~c")
            assert other.id == "a~c"

    run(test())


def test_what_cannot_be_forked_is_refused() -> None:
    async def test() -> None:
        async with served() as (server, client):
            source = await client.open("sum", "a")
            with pytest.raises(InvalidInput, match="one sequence or more"):
                await source.fork(0)
            server.live.clear()
            with pytest.raises(UnknownSequence, match="not live"):
                await source.fork()
            other = await client.open("sum", "b")
            await other.close()
            with pytest.raises(UnknownSequence, match="closed"):
                await other.fork()

    run(test())


def test_a_fork_that_cannot_be_opened_leaves_no_other_behind() -> None:
    async def test() -> None:
        async with served() as (server, client):
            source = await client.open("sum", "a")
            refused = pb.Error(code=pb.INVALID_INPUT, message="not this one")
            server.refuse_open = lambda told: refused if told.id == "a~2" else None
            with pytest.raises(InvalidInput, match="not this one"):
                await source.fork(["a~1", "a~2"])
            await server.until(lambda: "a~1" not in server.live)

    run(test())
