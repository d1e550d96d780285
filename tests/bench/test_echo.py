"""The echo speaks what the server speaks, so that the same load can be put on both."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.bench.connection import answered, connected, keys
from headrace.bench.load import closed_loop, metered, streaming
from headrace.bench.messages import StockClient, stock_clients
from headrace.bench.server import echoing
from headrace.protos import sequences_pb2 as pb

from ..server.fakes import SUM
from .echoes import WIDTH, echo, run


def test_a_frame_comes_back_with_all_its_rows() -> None:
    async def test() -> pb.Reply:
        async with echo() as address, connected(address, SUM, 1) as (connection,):
            await connection.open(3)
            column = np.ones(3, "<i8").tobytes()
            await connection.write(pb.Request(steps=pb.Steps(keys=keys(3), positions=column, lengths=column)))
            reply = await connection.read()
            await connection.close(3)
            return reply

    reply = run(test())
    (stepped,) = reply.stepped
    assert answered(reply).tolist() == [0, 1, 2]
    assert np.frombuffer(stepped.positions, "<i8").tolist() == [1, 1, 1]
    assert [len(values) for values in stepped.values] == [3 * WIDTH]


def test_connections_answer_every_step_of_a_closed_loop() -> None:
    async def test() -> None:
        async with echo() as address, streaming(address, SUM, rows=4, connections=2) as streams:
            load = await closed_loop(streams, 0.05)
        assert load.steps == 4 * len(load.latencies) >= 8
        assert 0 < load.percentile(50) <= load.percentile(99) < 30
        assert load.rate > 0

    run(test())


def test_a_stock_clients_message_comes_back_as_a_response() -> None:
    async def test() -> float:
        async with echo() as address, stock_clients(address, SUM, 2) as (first, second):
            await first.step()
            return await second.step()

    assert 0 < run(test()) < 30


def test_only_a_sequences_first_message_starts_it() -> None:
    async def test() -> list[bool]:
        client = StockClient("127.0.0.1:1", SUM)
        requests = [client.request() for _ in range(3)]
        await client.cut()
        assert len({request.parameters["sequence_id"].int64_param for request in requests}) == 1
        assert [len(raw) for raw in requests[0].raw_input_contents] == [4 * SUM.inputs[0].shape[0]]
        return [request.parameters["sequence_start"].bool_param for request in requests]

    assert run(test()) == [True, False, False]


@pytest.mark.parametrize("tuned", [False, True])
def test_one_in_a_process_of_its_own_is_metered_and_ends(tuned: bool) -> None:
    with echoing(WIDTH, tuned=tuned) as running:

        async def test() -> float:
            async with streaming(running.address, SUM, rows=4, connections=1) as streams:
                cost = await metered(running, streams, 0.05)
            assert cost.cpu == cost.outside  # it has no runtime
            return cost.cpu

        assert 0 < run(test()) < 1
    assert running.process.returncode == 0
