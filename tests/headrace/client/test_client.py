"""The client over a real connection to a scripted server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import pytest

import headrace
from headrace.bench.proxy import proxy
from headrace.client import Client, Sequence, Settings
from headrace.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    TakenOver,
    Unavailable,
    UnknownModel,
    UnknownSequence,
    WrongPosition,
)
from headrace.protos import sequences_pb2 as pb

from .clock import FakeClock
from .fake import Cut, FakeServer, Row

QUICK = Settings(backoff_first=0.001, backoff_longest=0.01)


@dataclass(frozen=True, slots=True)
class Pair:
    server: FakeServer
    client: Client
    clock: FakeClock


@asynccontextmanager
async def served() -> AsyncIterator[tuple[FakeServer, Client]]:
    async with FakeServer() as server, Client(server.address, QUICK) as client:
        yield server, client


@asynccontextmanager
async def timed() -> AsyncIterator[Pair]:
    clock = FakeClock()
    async with FakeServer() as server, Client(server.address, QUICK, clock=clock) as client:
        yield Pair(server, client, clock)


def one(number: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[number, 0.0]])


async def total(sequence: Sequence, number: float, wait: float | None = None) -> float:
    """Adds `number`; the sum so far."""
    return float(np.asarray(await sequence.step(one(number), timeout=wait))[-1, 0])


# The plain path


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


def test_frames_stay_below_their_size() -> None:
    async def main() -> None:
        small = Settings(frame_bytes=64)
        async with FakeServer() as server, Client(server.address, small) as client:
            sequences = [await client.open("sum") for _ in range(20)]
            await asyncio.gather(*(total(s, 1) for s in sequences))
            assert max(len(steps.values[0]) for steps in server.steps_seen) <= 64
            with pytest.raises(InvalidInput, match="72 bytes, a frame at most 64"):
                await sequences[0].step(np.zeros((9, 2)))

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
            assert [(m.name, m.version, m.device) for m in models] == [
                (n, "1", "CPU") for n in ("sum", "pair", "mean", "letters")
            ]
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
            with pytest.raises(UnknownModel, match="there are: letters, mean, pair, sum"):
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


# Lost connections


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


# Patience


def overloaded_times(count: int, hint_ms: int) -> deque[pb.Error]:
    return deque([pb.Error(code=pb.OVERLOADED, message="full", retry_after_ms=hint_ms)] * count)


def refuse_with(server: FakeServer, errors: deque[pb.Error]) -> None:
    def refuse(row: Row) -> pb.Error | None:
        return pb.Error.FromString(errors.popleft().SerializeToString()) if errors else None

    server.refuse = refuse


async def pass_time(pair: Pair, frames: int, seconds: float) -> None:
    """Lets the client see the answer to the last of `frames` frames with steps, then `seconds` pass."""
    await pair.server.until(lambda: len(pair.server.steps_seen) >= frames)
    await pair.client.models()  # one more round trip behind the reply
    pair.clock.advance(seconds)


def test_overloaded_steps_are_sent_again_after_the_hint() -> None:
    async def main() -> None:
        async with timed() as pair:
            s = await pair.client.open("sum", "a")
            refuse_with(pair.server, overloaded_times(2, hint_ms=500))
            steps = [asyncio.create_task(total(s, 1 << n)) for n in range(3)]
            await pass_time(pair, 1, 0.4)
            assert len(pair.server.steps_seen) == 1  # not before the hint
            await pass_time(pair, 1, 0.2)
            await pair.server.until(lambda: len(pair.server.steps_seen) >= 2)
            pair.server.refuse = lambda row: None
            await pass_time(pair, 2, 0.6)
            assert await asyncio.gather(*steps) == [1, 3, 7]
            assert pair.server.live["a"].applied == 3

    asyncio.run(main())


def test_overloaded_reaches_the_caller_when_its_time_is_too_short() -> None:
    async def main() -> None:
        async with timed() as pair:
            s = await pair.client.open("sum")
            refuse_with(pair.server, overloaded_times(1, hint_ms=500))
            with pytest.raises(Overloaded, match="full") as raised:
                await total(s, 1, wait=0.4)
            assert raised.value.retry_after == 0.5
            assert await total(s, 2) == 2

    asyncio.run(main())


def test_an_overloaded_open_is_asked_again() -> None:
    async def main() -> None:
        async with timed() as pair:
            answers = [pb.Error(code=pb.OVERLOADED, message="full", retry_after_ms=200)]
            pair.server.refuse_open = lambda told: answers.pop() if answers else None
            opening = asyncio.create_task(pair.client.open("sum", "a"))
            await pair.server.until(lambda: len(pair.server.frames) == 1)
            await pair.client.models()
            pair.clock.advance(0.3)
            assert (await opening).position == 0

    asyncio.run(main())


def test_time_in_the_queue_counts() -> None:
    async def main() -> None:
        async with timed() as pair:
            s = await pair.client.open("sum")
            pair.server.paused = True
            full = [asyncio.create_task(total(s, 1)) for _ in range(8)]  # as many as may be under way
            queued = asyncio.create_task(total(s, 1, wait=2.0))
            expires = asyncio.create_task(total(s, 1, wait=1.0))
            await pair.server.until(lambda: len(pair.server.queue) == 8)
            pair.clock.advance(1.5)
            with pytest.raises(DeadlineExceeded, match="before it was sent; nothing was applied"):
                await expires
            pair.server.release()
            assert await asyncio.gather(*full, queued) == [*range(1, 10)]
            timeouts = [np.frombuffer(steps.timeouts_us, "<u8") for steps in pair.server.steps_seen]
            assert timeouts[0].tolist() == [30_000_000] * 8
            assert 490_000 <= timeouts[-1][0] <= 500_000

    asyncio.run(main())


def test_a_server_that_does_not_answer_is_not_awaited_for_ever() -> None:
    async def main() -> None:
        async with timed() as pair:
            s = await pair.client.open("sum", "a")
            pair.server.paused = True
            step = asyncio.create_task(total(s, 1, wait=1.0))
            await pair.server.until(lambda: len(pair.server.queue) == 1)
            pair.clock.advance(1.2)
            await pair.client.models()
            assert not step.done()  # the server's own verdict may be on its way
            pair.clock.advance(0.4)
            with pytest.raises(DeadlineExceeded, match="no answer came"):
                await step
            later = asyncio.create_task(total(s, 2))
            await pair.server.until(lambda: not pair.server.queue)  # the cancel came first
            pair.server.paused = False
            assert await later == 2

    asyncio.run(main())


# Callers that change their mind


def test_a_cancelled_step_is_not_applied_and_the_sequence_goes_on() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum", "a")
            server.paused = True
            first = asyncio.create_task(total(s, 1))
            await server.until(lambda: len(server.queue) == 1)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            second = asyncio.create_task(total(s, 2))
            await server.until(lambda: not server.queue)
            server.paused = False
            assert await second == 2
            assert (s.position, server.live["a"].applied) == (1, 1)

    asyncio.run(main())


def test_a_step_that_the_server_cancelled_says_so() -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum", "a")
            refuse_with(server, deque([pb.Error(code=pb.CANCELLED, message="gone")]))
            first, second = await asyncio.gather(total(s, 1), total(s, 2), return_exceptions=True)
            assert isinstance(first, Cancelled) and isinstance(second, WrongPosition)
            assert second.expected_position == 0
            assert await total(s, 4) == 4

    asyncio.run(main())


def test_an_abandoned_open_is_closed() -> None:
    async def main() -> None:
        async with served() as (server, client):
            await client.open("sum", "a")
            opening = asyncio.create_task(client.open("sum", "b"))
            await server.until(lambda: len(server.live) == 2)  # opened there, and the client does not know it yet
            opening.cancel()
            await server.until(lambda: list(server.live) == ["a"])

    asyncio.run(main())
