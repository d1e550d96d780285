"""Frames of several callers that come together: as if each had been admitted before the next one came."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.server.commands import Close, Mode, Open, Step
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.steps import NEVER_AGAIN, Steps
from headrace.server.straight import together

from .fakes import STATELESS_SUM, Clock, Heard, steps, sum_lane

KEYS = (0, 1)
Row = tuple[int, int, int, int]  # key, shift of its position, length, what it acknowledges
Frame = tuple[int, list[Row]]  # whose
USUAL, ALL, FINAL = range(3)  # acknowledged: what came before the last answer, all that was answered, for ever

ROWS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 1, 2]),
        st.sampled_from([0] * 6 + [1]),
        st.sampled_from([1, 1, 1, 2]),
        st.sampled_from(range(3)),
    ),
    min_size=1,
    max_size=3,
)
FRAMES = st.lists(st.tuples(st.sampled_from(range(3)), ROWS), min_size=1, max_size=4)


class Callers:
    """Three, each with two sequences, in one lane; key 2 is nobody's."""

    def __init__(self) -> None:
        self.sinks = [Heard() for _ in range(3)]
        self.lane = sum_lane(Clock(), limits=Limits(rows=3, tokens=64, sequences=6))
        for at, sink in enumerate(self.sinks):
            for key in KEYS:
                self.lane.post(Open(sink, key, ("", f"{at}-{key}"), Mode.FRESH, 1))
        self.lane.admit(wait=False)
        self.said()

    @classmethod
    def begun(cls) -> Callers:
        """Each sequence has been answered once: first replies find no room that passes on to them."""
        callers = cls()
        for frame in callers.usual(0, 1, 2):
            callers.lane.post(Step(frame))
        callers.lane.admit(wait=False)
        callers.run()
        callers.said()
        return callers

    def frame(self, at: int, rows: list[Row]) -> Steps:
        """Where the sequences stand before anything of these frames is admitted."""
        sequences, columns, acked = self.lane.state.sequences, [], []
        for key, shift, length, acknowledges in rows:
            number = sequences.names.get(("", f"{at}-{key}"), 0)
            answered = int(sequences.position[number])
            columns.append((key, int(sequences.expected[number]) + shift, [1.0 + at] * length))
            acked.append((max(0, answered - 1), answered, NEVER_AGAIN)[acknowledges])
        return steps(self.sinks[at], columns, acked=acked)

    def usual(self, *whose: int) -> list[Steps]:
        return [self.frame(at, [(key, 0, 1, ALL) for key in KEYS]) for at in whose]

    def together(self, *frames: Steps) -> bool:
        return together(self.lane.spec, self.lane.state, frames, 100.0)

    def run(self) -> None:
        while self.lane.state.scheduler:
            self.lane.tick()

    def said(self) -> list[list[str]]:
        return [list(map(repr, sink.take())) for sink in self.sinks]


def books(lane: Lane) -> list[list[float]]:
    sequences, kept = lane.state.sequences, lane.state.kept
    columns = (sequences.position, sequences.expected, sequences.pending, sequences.used, kept.count, kept.size)
    return [column.tolist() for column in columns] + [[kept.total, lane.state.scheduler.ready_rows]]


@given(rounds=st.lists(st.tuples(FRAMES, st.booleans()), min_size=1, max_size=5))
@settings(deadline=None, max_examples=150)
def test_frames_that_come_together_are_admitted_as_one_after_the_other(
    rounds: list[tuple[list[Frame], bool]],
) -> None:
    at_once, in_turn = Callers(), Callers()
    for frames, settle in rounds:
        for frame in [at_once.frame(*frame) for frame in frames]:
            at_once.lane.post(Step(frame))
        at_once.lane.admit(wait=False)
        for frame in [in_turn.frame(*frame) for frame in frames]:
            in_turn.lane.post(Step(frame))
            in_turn.lane.admit(wait=False)
        assert books(at_once.lane) == books(in_turn.lane)
        if settle:
            at_once.run()
            in_turn.run()
        assert at_once.said() == in_turn.said()


def test_usual_frames_are_admitted_together_time_and_again() -> None:
    callers = Callers.begun()
    for position in (2, 3, 4):
        assert callers.together(*callers.usual(0, 1, 2))
        callers.run()
        assert callers.lane.state.sequences.position.tolist() == [position] * 6
        assert all(callers.said())


def refused(callers: Callers, *frames: Steps) -> bool:
    """Whether they are not admitted together, and nothing is done."""
    before = books(callers.lane)
    return not callers.together(*frames) and books(callers.lane) == before


@pytest.mark.parametrize(
    "row",
    [
        pytest.param((0, 0, 17, ALL), id="longer than any"),
        pytest.param((0, 0, 2, ALL), id="of two time steps"),
        pytest.param((0, 1, 1, ALL), id="off its place"),
        pytest.param((2, 0, 1, ALL), id="of nobody's key"),
        pytest.param((0, 0, 1, USUAL), id="without acknowledgement"),
    ],
)
def test_one_unusual_row_sends_every_frame_its_own_way(row: Row) -> None:
    callers = Callers.begun()
    assert refused(callers, callers.frame(0, [row]), *callers.usual(1))
    assert callers.together(*callers.usual(0, 1))


def test_a_frame_without_rows_is_nothing() -> None:
    callers = Callers.begun()
    whole, empty = callers.usual(0)[0], callers.usual(1)[0].split(0)[0]
    for frames in ([empty], [empty, whole]):
        for frame in frames:
            callers.lane.post(Step(frame))
        callers.lane.admit(wait=False)
    callers.run()
    assert [len(said) for said in callers.said()] == [1, 0, 0]


def test_two_frames_of_one_caller_are_not_admitted_together() -> None:
    callers = Callers.begun()
    first, second = (callers.frame(0, [(key, 0, 1, ALL)]) for key in KEYS)
    assert refused(callers, first, second)


def test_a_sequence_that_stands_twice_in_a_frame_is_not_admitted_at_once() -> None:
    callers = Callers.begun()
    assert refused(callers, callers.frame(0, [(0, 0, 1, ALL), (0, 0, 1, ALL)]), *callers.usual(1))


def test_nothing_is_admitted_together_behind_what_waits() -> None:
    callers = Callers.begun()
    callers.lane.post(Step(callers.frame(0, [(key, 0, 1, FINAL) for key in KEYS])))
    callers.lane.admit(wait=False)
    assert refused(callers, callers.frame(0, [(0, 0, 1, FINAL)]), *callers.usual(1))


def test_nothing_is_admitted_together_behind_a_close() -> None:
    callers = Callers.begun()
    callers.lane.post(Step(callers.usual(0)[0]))
    callers.lane.post(Close(callers.sinks[0], KEYS))
    callers.lane.admit(wait=False)
    assert refused(callers, *callers.usual(0, 1))


def test_a_fault_in_the_checks_costs_the_guilty_frame_alone(caplog: pytest.LogCaptureFixture) -> None:
    callers = Callers.begun()
    good, bad = callers.usual(0, 1)
    broken = replace(bad, values=())
    for frame in (broken, good):
        callers.lane.post(Step(frame))
    callers.lane.admit(wait=False)
    callers.run()
    first, second, _ = callers.said()
    assert "Stepped" in first[0] and "the server failed on this step" in second[0]
    assert "could not be checked" in caplog.text


def test_stateless_frames_go_their_own_ways() -> None:
    lane, sinks = sum_lane(Clock(), spec=STATELESS_SUM), [Heard(), Heard()]
    for sink in sinks:
        lane.post(Step(steps(sink, [(0, 0, [1.0])])))
    lane.admit(wait=False)
    lane.tick()
    assert [len(sink.take()) for sink in sinks] == [1, 1]


def test_a_close_between_two_frames_is_handled_between_them() -> None:
    callers = Callers.begun()
    first, second = callers.usual(0, 1)
    for command in (Step(first), Close(callers.sinks[1], KEYS), Step(second)):
        callers.lane.post(command)
    callers.lane.admit(wait=False)
    callers.run()
    answered, closed, _ = callers.said()
    assert "Stepped" in answered[0] and "Closed" in closed[0] and "was closed" in closed[-1]
