"""Timeouts, retries, and callers that change their mind; time passes when a test says so."""

from __future__ import annotations

import asyncio
import math
from collections import deque

import numpy as np
import pytest

from headrace.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    Unavailable,
    WrongPosition,
)
from headrace.protos import sequences_pb2 as pb

from .fake import FakeServer
from .rows import Row
from .running import Pair, served, timed, total


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
            await pair.clock.due(0.3)  # the refusal has come, and the open is to be asked again
            pair.clock.advance(0.3)
            assert (await opening).position == 0

    asyncio.run(main())


def test_a_close_gives_up_when_the_server_is_gone() -> None:
    async def main() -> None:
        async with timed() as pair:
            s = await pair.client.open("sum", "a")
            await total(s, 1)
            await pair.server.__aexit__(None, None, None)
            closing = asyncio.create_task(s.close())
            await asyncio.sleep(0)  # it begins
            pair.clock.advance(29)
            assert not closing.done()
            pair.clock.advance(2)
            with pytest.raises(Unavailable):
                await closing

    asyncio.run(main())


def test_a_reset_works_again_after_a_close_that_failed() -> None:
    async def main() -> None:
        async with timed() as pair:
            s = await pair.client.open("sum", "a")
            pair.server.paused = True
            step = asyncio.create_task(total(s, 1, wait=math.inf))
            await pair.server.until(lambda: len(pair.server.queue) == 1)
            closing = asyncio.create_task(s.close())
            await asyncio.sleep(0)  # it begins
            pair.clock.advance(31)  # a step that may take for ever is not waited for
            for lost in (closing, step):
                with pytest.raises(Unavailable):
                    await lost
            pair.server.paused = False
            await s.reset()
            assert await total(s, 2) == 2

    asyncio.run(main())


def test_an_error_does_not_wait_for_the_close() -> None:
    async def main() -> None:
        async with timed() as pair:
            with pytest.raises(ZeroDivisionError):
                async with await pair.client.open("sum", "a"):
                    await pair.server.__aexit__(None, None, None)
                    raise ZeroDivisionError  # and no clock moves

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


@pytest.mark.parametrize("wait", [math.nan, -1.0, -math.inf])
def test_a_timeout_that_is_none_is_refused_to_its_caller_alone(wait: float) -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum")
            with pytest.raises(InvalidInput, match="a timeout is in seconds"):
                await total(s, 1, wait=wait)
            assert (await total(s, 2), server.connections) == (2, 1)

    asyncio.run(main())


@pytest.mark.parametrize(("wait", "written"), [(math.inf, 0), (1e300, 10**18), (1e13, 10**18)])
def test_timeouts_beyond_all_bounds_are_written_as_none_or_the_longest(wait: float, written: int) -> None:
    async def main() -> None:
        async with served() as (server, client):
            s = await client.open("sum")
            assert (await total(s, 2, wait=wait), server.connections) == (2, 1)
            (steps,) = server.steps_seen
            assert abs(int(np.frombuffer(steps.timeouts_us, "<u8")[0]) - written) <= 1

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
