"""The client over a real connection to a scripted server: steps, rows, opens and closes."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import headrace
from headrace.client import Client, Sequence, Settings
from headrace.errors import (
    AlreadyExists,
    ConfigurationError,
    InvalidInput,
    TakenOver,
    Unavailable,
    UnknownModel,
    UnknownSequence,
)

from .fake import FakeServer
from .running import QUICK, one, served, total
from .specs import SPECS


def test_a_sequence_goes_on_where_it_stands() -> None:
    async def main() -> None:
        async with served() as (_, client):
            s = await client.open("sum", "a")
            np.testing.assert_array_equal(np.asarray(await s.step([[1, 10], [2, 20]])), [[1, 10], [3, 30]])
            np.testing.assert_array_equal(np.asarray(await s.step([[3, 30]])), [[6, 60]])
            assert (s.position, s.id, s.version, s.model) == (3, "a", "1", "sum")

    asyncio.run(main())


def test_several_inputs_and_outputs_go_by_name() -> None:
    async def main() -> None:
        async with served() as (_, client), await client.open("pair") as s:
            y = await s.step({"x": [[1, 2], [3, 4]], "id": [5, 6]})
            assert isinstance(y, dict) and list(y) == ["y", "ids"]
            assert (y["y"].tolist(), y["ids"].tolist(), y["ids"].shape) == ([[1, 2], [4, 6]], 6, ())

    asyncio.run(main())


def test_many_callers_share_frames_and_keep_their_order() -> None:
    async def work(sequence: Sequence) -> list[float]:
        return [await total(sequence, n) for n in range(10)]

    async def main() -> None:
        async with served() as (server, client):
            sequences = [await client.open("sum") for _ in range(50)]
            sums = await asyncio.gather(*map(work, sequences))
            assert sums == [list(np.cumsum(range(10)))] * 50
            assert len(server.steps_seen) <= 50 * 10 / 5

    asyncio.run(main())


def test_steps_of_one_sequence_are_pipelined_in_the_order_of_the_calls() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum")
            sums = await asyncio.gather(*(total(s, 1 << n) for n in range(20)))
            assert sums == [(2 << n) - 1 for n in range(20)]
            assert len(server.steps_seen) < 20
            assert not server.overfull  # no more were under way than a server keeps replies to

    asyncio.run(main())


def test_a_stateless_model_is_asked_by_infer() -> None:
    async def main() -> None:
        async with served() as (server, client):
            rows = await asyncio.gather(*(client.infer("mean", [[n, 0], [n + 2, 4]]) for n in range(30)))
            assert [np.asarray(r).tolist() for r in rows] == [[n + 1, 2] for n in range(30)]
            assert len(server.steps_seen) < 30
            assert [o.model for frame in server.frames for o in frame.opens] == ["mean"]

    asyncio.run(main())


def test_frames_carry_one_model_each() -> None:
    async def main() -> None:
        async with served() as (_, client):  # the server asserts it
            s, p = await client.open("sum"), await client.open("pair")
            a, b, c = await asyncio.gather(s.step(one(1)), p.step((one(2), [3])), client.infer("mean", one(4)))
            assert isinstance(b, dict)
            assert [float(np.asarray(y).ravel()[0]) for y in (a, b["y"], c)] == [1, 2, 4]

    asyncio.run(main())


def test_what_is_served_is_listed() -> None:
    async def main() -> None:
        async with served() as (_, client):
            models = await client.models()
            assert [(m.name, m.version, m.device) for m in models] == [(n, "1", "CPU") for n in SPECS]
            assert models[0].spec.stateful and not models[2].spec.stateful

    asyncio.run(main())


# Opens, closes, resets


def test_reset_begins_anew() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum", "a")
            await total(s, 5)
            before = server.live["a"].incarnation
            await s.reset()
            assert (s.position, await total(s, 7)) == (0, 7)
            assert server.live["a"].incarnation != before

    asyncio.run(main())


def test_a_closed_sequence_is_gone_and_its_key_is_used_again() -> None:
    async def main() -> None:
        async with served() as (server, client):
            async with await client.open("sum", "a") as s:
                pending = asyncio.create_task(total(s, 1))
                await asyncio.sleep(0)
            assert await pending == 1  # closing waits for what is under way
            assert not server.live
            with pytest.raises(UnknownSequence, match="closed"):
                await s.step(one(1))
            await s.close()
            await client.open("sum", "b")
            assert [o.key for frame in server.frames for o in frame.opens] == [0, 0]

    asyncio.run(main())


def test_a_sequence_goes_to_the_newest_version_and_so_do_rows() -> None:
    async def main() -> None:
        async with FakeServer() as server, Client(server.address, QUICK) as client:
            server.versions = ["9", "10"]
            await client.models()
            assert (await client.find("sum")).version == "10"
            assert (await client.open("sum")).version == "10"

    asyncio.run(main())


def test_a_closed_client_says_so_at_once() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            async with Client(server.address, QUICK) as client:
                s = await client.open("sum", "a")
            for late in (s.reset(), s.step(one(1)), client.open("sum", "b")):
                with pytest.raises(Unavailable):
                    await asyncio.wait_for(late, 1)

    asyncio.run(main())


def test_a_live_id_is_refused_resumed_or_replaced() -> None:
    async def main() -> None:
        async with served() as (server, client), Client(server.address, QUICK) as other:
            s = await client.open("sum", "a")
            await total(s, 3)
            with pytest.raises(AlreadyExists):
                await other.open("sum", "a")
            resumed = await other.open("sum", "a", mode="resume")
            assert (resumed.position, await total(resumed, 4)) == (1, 7)
            with pytest.raises(TakenOver):
                await s.step(one(1))
            replaced = await client.open("sum", "a", mode="replace")
            assert (replaced.position, await total(replaced, 1)) == (0, 1)
            with pytest.raises(UnknownSequence):
                await other.open("sum", "nobody", mode="resume")

    asyncio.run(main())


def test_the_wrong_kind_of_model_is_refused() -> None:
    async def main() -> None:
        async with served() as (_, client):
            with pytest.raises(InvalidInput, match="use infer"):
                await client.open("mean")
            with pytest.raises(InvalidInput, match="open\\(\\) a sequence"):
                await client.infer("sum", one(1))
            with pytest.raises(UnknownModel, match="there are: letters, mean, pair, seeing, sum, tokens, translator"):
                await client.open("nothing")
            with pytest.raises(InvalidInput, match="1 to 128 bytes"):
                await client.open("sum", "")

    asyncio.run(main())


def test_nobody_there() -> None:
    async def main() -> None:
        with pytest.raises(Unavailable, match=r"no Headrace server answers at 127\.0\.0\.1:1"):
            async with Client("127.0.0.1:1", Settings(connect_timeout=0.2)):
                pass
        client = headrace.connect("127.0.0.1:1")
        with pytest.raises(Unavailable, match="async with"):
            await client.models()

    asyncio.run(main())


def test_a_client_that_ends_leaves_its_sequences_and_tells_its_callers() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            async with Client(server.address, QUICK) as client:
                s = await client.open("sum", "a")
                server.paused = True
                step = asyncio.create_task(total(s, 1))
                await server.until(lambda: len(server.queue) == 1)
            with pytest.raises(Unavailable, match="closed"):
                await step
            assert list(server.live) == ["a"]

    asyncio.run(main())


def test_a_spec_that_cannot_be_read_harms_those_alone_who_want_its_model() -> None:
    async def main() -> None:
        server = FakeServer()
        server.unreadable = "pair"
        async with server, Client(server.address, QUICK) as client:
            assert "pair" not in {m.name for m in await client.models()}
            assert await total(await client.open("sum"), 1) == 1
            with pytest.raises(ConfigurationError, match="spec cannot be used"):
                await client.open("pair")

    asyncio.run(main())
