"""Who steps when: crowds in turn, ragged lengths from a deck, random arrivals."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.bench.connection import connected
from headrace.bench.load import Crowd, Paced, closed_loop
from headrace.bench.poisson import SEQUENCES, Turns, arrivals, open_load
from headrace.bench.rolling import EQUAL, MIXED, Rolling
from headrace.protos import sequences_pb2 as pb

from ..server.fakes import SUM
from .echoes import echo, run


class Line:
    """Stands where a connection stands: remembers what was written, and answers frames whole."""

    def __init__(self) -> None:
        self.spec = SUM
        self.written: list[pb.Steps] = []
        self._unread: list[pb.Reply] = []

    async def write(self, request: pb.Request) -> None:
        self.written.append(request.steps)
        self._unread.append(pb.Reply(stepped=[pb.Stepped(keys=request.steps.keys)]))

    async def read(self) -> pb.Reply:
        return self._unread.pop(0)


def keys_of(steps: pb.Steps) -> list[int]:
    keys: list[int] = np.frombuffer(steps.keys, "<u4").tolist()
    return keys


def positions_of(steps: pb.Steps) -> list[int]:
    positions: list[int] = np.frombuffer(steps.positions, "<i8").tolist()
    return positions


def test_all_of_a_crowd_step_equally_often_in_random_order() -> None:
    async def test() -> list[pb.Steps]:
        line = Line()
        crowd = Crowd(line, 40, 10, seed=0)
        for _ in range(8):
            await crowd.step()
        return line.written

    first, second = (written[:4], written[4:]) if (written := run(test())) else ([], [])
    for turn, frames in enumerate((first, second)):
        order = [key for frame in frames for key in keys_of(frame)]
        assert sorted(order) == list(range(40)) != order
        assert {position for frame in frames for position in positions_of(frame)} == {turn}


def test_a_crowd_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="41 sequences cannot take turns in frames of 10"):
        Crowd(Line(), 41, 10, seed=0)


def test_both_kinds_of_lengths_have_the_same_time_steps() -> None:
    assert MIXED.sum() == EQUAL.sum() == 1275
    assert MIXED.min() == 1 and MIXED.max() == 50


def test_every_length_is_dealt_before_one_comes_again() -> None:
    rolling = Rolling(Line(), MIXED, seed=0)
    dealt = np.concatenate([rolling.dealt(count) for count in (7, 43, 30, 20)])
    assert sorted(dealt[:50]) == sorted(dealt[50:]) == MIXED.tolist()
    assert dealt[:50].tolist() != dealt[50:].tolist()


def test_rolling_sequences_go_on_where_they_stand_until_the_end() -> None:
    async def test() -> int:
        async with echo() as address, connected(address, SUM, 1) as (connection,):
            rolling = Rolling(connection, MIXED, seed=0)
            await rolling.run(until=0.0)  # one step of each, then it is over
            return rolling.tokens

    assert run(test()) == MIXED.sum()


def test_arrivals_are_as_many_as_the_rate_says_and_without_pattern() -> None:
    times = arrivals(1000.0, 20.0, np.random.default_rng(0))
    gaps = np.diff(times)
    assert (gaps >= 0).all() and times[0] >= 0 and times[-1] <= 20
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as of an exponential distribution


def test_steps_of_a_connection_take_turns_over_its_sequences() -> None:
    async def test() -> list[pb.Steps]:
        line = Line()
        turns = Turns(line, 2 * SEQUENCES)
        await turns.send(np.zeros(SEQUENCES - 1))
        await turns.send(np.zeros(3))
        return line.written

    first, second = run(test())
    assert keys_of(first) == list(range(SEQUENCES - 1)) and set(positions_of(first)) == {0}
    assert list(zip(keys_of(second), positions_of(second), strict=True)) == [(SEQUENCES - 1, 0), (0, 1), (1, 1)]


def test_every_arrival_is_answered_and_none_leaves_before_it_is_due() -> None:
    async def test() -> None:
        async with echo() as address:
            latencies, lags = await open_load(address, SUM, 2000.0, 0.2, np.random.default_rng(0))
        assert len(latencies) == len(lags) > 300
        assert lags.min() >= 0
        assert latencies.min() > 0 and np.median(latencies) >= np.median(lags)

    run(test())


def test_a_closed_loop_ends_at_once_when_its_time_is_over() -> None:
    async def test() -> int:
        line = Line()
        await closed_loop([Crowd(line, 10, 10, seed=0)], 1e-9)
        return len(line.written)

    assert run(test()) <= 1


def test_a_paced_stream_keeps_its_period_whatever_its_frames_take() -> None:
    async def test() -> int:
        line = Line()
        await closed_loop([Paced(Crowd(line, 10, 10, seed=0), period=0.02, offset=0.02)], 0.1)
        return len(line.written)

    assert 1 <= run(test()) <= 6
