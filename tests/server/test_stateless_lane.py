"""A lane without states: whatever comes together, however it is cut, each row is answered once, as if it were alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Cancelled, DeadlineExceeded, ModelFailed
from headrace.server.commands import Leave, Step
from headrace.server.cost import Cost
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.steps import Answer, Failed, Stepped

from .fakes import STATELESS_SUM, Clock, SumEngine, steps, sum_lane

#: Padding is dear, so that the rows of a frame part.
LIMITS = Limits(rows=4, tokens=24, sequences=1, cost=Cost(call=5, cell=0.2))
GUILTY = 13.0

LENGTHS = st.lists(st.integers(1, 16), min_size=1, max_size=9)


@dataclass(eq=False)
class Caller:
    """Mutable: `sent`, key → values of its row; `heard`, key → what was answered, once."""

    sent: dict[int, list[float]] = field(default_factory=dict)
    heard: dict[int, object] = field(default_factory=dict)

    def deliver(self, answer: Answer) -> None:
        match answer:
            case Stepped():
                for key, y, last in zip(answer.keys.tolist(), self.rows(answer), answer.outputs[1], strict=True):
                    assert y[-1] == last[0]
                    self.hear(key, y)
            case Failed(int(key), int(), error):
                self.hear(key, type(error))

    def rows(self, answer: Stepped) -> list[list[float]]:
        return [y[:, 0].tolist() for y in np.split(answer.outputs[0], np.cumsum(answer.lengths)[:-1])]

    def hear(self, key: int, what: object) -> None:
        assert key not in self.heard, "a row is answered twice"
        self.heard[key] = what

    def send(self, lane: Lane, rows: list[list[float]], deadline: float = np.inf) -> None:
        first = len(self.sent)
        self.sent |= dict(enumerate(rows, first))
        frame = [(key, 0, values) for key, values in enumerate(rows, first)]
        lane.post(Step(steps(self, frame, deadline=deadline)))


def a_lane(clock: Clock) -> tuple[Lane, SumEngine]:
    engine = SumEngine(LIMITS.slots, refuse=lambda row: bool((row == GUILTY).any()))
    return sum_lane(clock, spec=STATELESS_SUM, engine=engine, limits=LIMITS), engine


def serve(lane: Lane) -> None:
    lane.admit(wait=False)
    while lane.state.busy:
        lane.tick()


def expected(values: list[float]) -> object:
    return ModelFailed if GUILTY in values else np.cumsum(values, dtype=np.float32).tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), LENGTHS, st.integers(0, 2), st.booleans()), min_size=1, max_size=8))
def test_each_row_is_answered_once_as_if_it_were_alone(frames: list[tuple[int, list[int], int, bool]]) -> None:
    lane, engine = a_lane(Clock())
    callers = [Caller(), Caller()]
    for who, lengths, ticks, bad in frames:
        rows = [[float(1 + n + 3 * t) for t in range(length)] for n, length in enumerate(lengths)]
        callers[who].send(lane, [*rows, [GUILTY]] if bad else rows)
        lane.admit(wait=False)
        for _ in range(ticks):
            if lane.state.busy:
                lane.tick()
    serve(lane)
    for caller in callers:
        assert caller.heard == {key: expected(values) for key, values in caller.sent.items()}
    assert all(len(batch) <= LIMITS.rows for batch in engine.batches)


def test_a_frame_of_unlike_rows_runs_in_several_batches() -> None:
    lane, engine = a_lane(Clock())
    caller = Caller()
    caller.send(lane, [[1.0] * length for length in (12, 1, 11, 2, 1)])
    serve(lane)
    assert [sorted(batch.lengths.tolist()) for batch in engine.batches] == [[11, 12], [1, 1, 2]]
    assert len(caller.heard) == 5


def test_rows_of_who_leaves_are_cancelled_and_late_ones_not_run() -> None:
    clock = Clock()
    lane, engine = a_lane(clock)
    gone, late, stays = Caller(), Caller(), Caller()
    gone.send(lane, [[1.0]] * 3)
    late.send(lane, [[1.0]], deadline=clock.now - 0.1)
    stays.send(lane, [[1.0]])
    lane.post(Leave(gone))
    serve(lane)
    assert set(gone.heard.values()) == {Cancelled} and list(late.heard.values()) == [DeadlineExceeded]
    assert stays.heard == {0: [1.0]} and len(engine.batches) == 1
