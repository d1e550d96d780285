"""One caller alone: his steps run on the event loop's own thread, and are answered as they are elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from threading import get_ident

import numpy as np

from headrace.server.batch import Batch, Outcome
from headrace.server.models import Models
from headrace.server.rpc.inference import InferenceService

from ..fakes import FEATURES, Clock, SumEngine
from . import oip
from .wire import Wire, model, opens, serving, stepping, sums


@dataclass
class Traced(SumEngine):
    """Remembers the threads on which it ran."""

    threads: set[int] = field(default_factory=set)

    def run(self, batch: Batch) -> Outcome:
        self.threads.add(get_ident())
        return super().run(batch)


def test_steps_of_a_connection_that_is_alone_come_to_run_here() -> None:
    async def test() -> None:
        clock, engine, position = Clock(), Traced(slots=64), 0
        async with serving(Models([model(clock, engine=engine)]), clock) as (channel, _):
            wire = Wire(channel)
            await wire.ask(opens(1), 1)
            while get_ident() not in engine.threads:  # at first the lane's thread may not be at rest yet
                clock.now += 1
                assert sums(await wire.ask(stepping([(1, position, [1])]), 1)) == {1: [position + 1]}
                position += 1
            clock.now += 1
            assert sums(await wire.ask(stepping([(1, position, [1])]), 1)) == {1: [position + 1]}
        assert len(engine.threads) == 2

    asyncio.run(asyncio.wait_for(test(), 30))


def test_rows_that_name_one_sequence_come_to_run_here_too() -> None:
    async def test() -> None:
        clock, engine, sent = Clock(), Traced(slots=64), 0
        service = InferenceService(Models([model(clock, engine=engine)]), clock)
        async with oip.serving(service) as channel:
            while get_ident() not in engine.threads:
                clock.now += 1
                x = np.ones((1, FEATURES), np.float32)
                named = oip.request("sum", x, sequence_id=5, sequence_start=not sent)
                answer = await oip.infer(channel, named)
                sent += 1
                assert oip.tensors(answer)["y"].tolist() == [[sent] * FEATURES]

    asyncio.run(asyncio.wait_for(test(), 30))
