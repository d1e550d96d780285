"""Callers of the client library as a load, against a scripted server."""

from __future__ import annotations

import asyncio

import pytest

from headrace.bench.tasks import calling, tasks

from ..headrace.client.fake import FakeServer


@pytest.mark.parametrize(("model", "length"), [("sum", 3), ("pair", 1)])
def test_each_caller_steps_its_own_sequence(model: str, length: int) -> None:
    async def main() -> None:
        async with FakeServer() as server:
            async with calling(server.address, model, count=2, length=length) as (first, second):
                assert min([await first.step(), await first.step(), await second.step()]) > 0
                assert sorted(live.position for live in server.live.values()) == [length, 2 * length]
            assert not server.live

    asyncio.run(main())


def test_the_load_counts_what_was_answered() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            load = await tasks(server.address, "sum", count=5, seconds=0.05)
            sent = sum(len(steps.keys) // 4 for steps in server.steps_seen)
            assert load.steps == len(load.latencies) == sent >= 5
            assert 0 < load.percentile(50) < load.seconds

    asyncio.run(main())
