"""The client against the server's own lanes, over connections that are cut: what each believes of the other is true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest

from headrace.bench.proxy import Proxy, proxy
from headrace.client import Client, Result, Sequence
from headrace.errors import WrongPosition
from headrace.server.models import Models
from headrace.server.rpc.sequences import SequencesService

from ...server.fakes import STATELESS_SUM, Clock
from ...server.listening import listening
from ...server.rpc.wire import model
from .running import QUICK


@dataclass(slots=True)
class Line:
    """A client whose network is cut when so many answers have come in all as `cuts` says. Mutable."""

    client: Client
    network: Proxy
    cuts: set[int]
    answers: int = field(default=0, init=False)

    def heard(self, result: Result) -> float:
        """The sum so far."""
        assert isinstance(result, dict)
        self.answers += 1
        if self.answers in self.cuts:
            self.network.cut()
        return float(result["last"][0])

    async def step(self, sequence: Sequence, number: int) -> float:
        return self.heard(await sequence.step([[number, 0]]))

    async def infer(self, number: int) -> float:
        return self.heard(await self.client.infer("stateless-sum", [[number, 0], [1, 0]]))


@asynccontextmanager
async def joined(cuts: set[int], rows: int = 100, frame_bytes: int = 4096, pipeline: int = 8) -> AsyncIterator[Line]:
    clock, settings = Clock(), QUICK.model_copy(update={"pipeline": pipeline, "retry_after": 0.001})
    models = Models([model(clock, lanes=2), model(clock, STATELESS_SUM)])
    service = SequencesService(models, rows, frame_bytes, clock)
    try:
        async with (
            listening(service.handler()) as port,
            proxy(f"127.0.0.1:{port}") as (network, address),
            Client(address, settings) as client,
        ):
            yield Line(client, network, cuts)
            assert network.cuts == len(cuts)
    finally:
        models.stop()


def some(seed: int, answers: int) -> set[int]:
    return set(Random(seed).sample(range(1, answers), 6))


@pytest.mark.parametrize(("rows", "pipeline"), [(6, 1), (100, 8)], ids=["overloaded", "roomy"])
@pytest.mark.parametrize("seed", range(4))
def test_every_step_is_applied_once_whatever_is_cut(seed: int, rows: int, pipeline: int) -> None:
    """Each step adds a power of two of its own: a sum tells which steps were applied before it."""

    async def work(line: Line, sequence: Sequence) -> list[float]:
        burst = await asyncio.gather(*(line.step(sequence, 1 << n) for n in range(10)))
        return burst + [await line.step(sequence, 1 << n) for n in range(10, 15)]

    async def main() -> None:
        async with joined(some(seed, 5 * 15), rows, pipeline=pipeline) as line:
            sequences = [await line.client.open("sum", f"{n}") for n in range(5)]
            sums = await asyncio.gather(*(work(line, s) for s in sequences))
            assert sums == [[(2 << n) - 1 for n in range(15)]] * 5
            assert [s.position for s in sequences] == [15] * 5

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("seed", range(6))
def test_cancelled_steps_leave_no_doubt(seed: int) -> None:
    async def main() -> None:
        async with joined({2, 5}) as line:
            sequence, random = await line.client.open("sum", "a"), Random(seed)
            steps = [asyncio.create_task(line.step(sequence, 1 << n)) for n in range(12)]
            for n in random.sample(range(4, 12), 2):
                await steps[random.randrange(2)]
                steps[n].cancel()
            outcomes = await asyncio.gather(*steps, return_exceptions=True)
            line.cuts -= {cut for cut in line.cuts if cut > line.answers}
            applied = int(await line.step(sequence, 0))
            assert sequence.position == applied.bit_count() + 1
            for n, outcome in enumerate(outcomes):
                if isinstance(outcome, float):
                    assert outcome == applied & ((2 << n) - 1) and applied >> n & 1
                else:
                    assert isinstance(outcome, asyncio.CancelledError) or not applied >> n & 1
                    assert isinstance(outcome, asyncio.CancelledError | WrongPosition)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_rows_without_state_are_asked_again() -> None:
    async def main() -> None:
        async with joined({3, 10, 20}) as line:
            assert await asyncio.gather(*(line.infer(n) for n in range(30))) == [n + 1 for n in range(30)]

    asyncio.run(asyncio.wait_for(main(), 30))


def test_more_sequences_than_one_frame_has_room_for_are_opened_again() -> None:
    async def main() -> None:
        async with joined({10, 31}, frame_bytes=256) as line:
            sequences = await asyncio.gather(*(line.client.open("sum") for _ in range(30)))
            for total in (1, 2, 3):
                assert await asyncio.gather(*(line.step(s, 1) for s in sequences)) == [total] * 30
            await asyncio.gather(*(s.close() for s in sequences))

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_server_of_short_queues_is_given_short_frames() -> None:
    async def main() -> None:
        async with joined(set(), rows=5) as line:
            sequences = [await line.client.open("sum") for _ in range(20)]
            assert await asyncio.gather(*(line.step(s, 1) for s in sequences)) == [1] * 20
            assert await asyncio.gather(*(line.infer(n) for n in range(20))) == [n + 1 for n in range(20)]

    asyncio.run(main())
