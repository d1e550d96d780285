"""Rows that name their sequences, gathered: as if each had come alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Cancelled, HeadraceError, InvalidInput, Overloaded, UnknownSequence, WrongPosition
from headrace.server.commands import Leave, Mode, NamedSteps, Open
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.steps import NEVER_AGAIN, NEXT, Closed, Failed, Stepped

from .fakes import Clock, Heard, admit, steps, sum_lane


@dataclass(frozen=True)
class Row:
    name: str
    value: float = 1
    start: bool = False
    end: bool = False
    position: int = NEXT


def gathered(sink: Heard, *rows: Row) -> NamedSteps:
    """The rows as one command; their keys count from 0."""
    columns = [(key, row.position, [row.value]) for key, row in enumerate(rows)]
    acked = [NEVER_AGAIN if row.position == NEXT else row.position for row in rows]
    names = tuple(("", row.name) for row in rows)
    starts, ends = np.array([row.start for row in rows]), np.array([row.end for row in rows])
    return NamedSteps(steps(sink, columns, acked=acked), names, starts, ends)


def heard(lane: Lane, *commands: NamedSteps | Leave) -> None:
    admit(lane, *commands)
    while lane.state.scheduler:
        lane.tick()


def told(sink: Heard) -> dict[int, float | type[HeadraceError]]:
    """Key → `last` of the answered row, or its error."""
    result: dict[int, float | type[HeadraceError]] = {}
    for answer in sink.take():
        if isinstance(answer, Stepped):
            result |= zip(answer.keys.tolist(), answer.outputs[1][:, 0].tolist(), strict=True)
        elif isinstance(answer, Failed) and answer.key is not None:
            result[answer.key] = type(answer.error)
    return result


def test_rows_of_different_sequences_are_one_piece() -> None:
    sink, lane = Heard(), sum_lane(Clock())
    heard(lane, gathered(sink, *(Row(name, start=True) for name in "abc")))
    sink.take()
    admit(lane, gathered(sink, Row("c", 3), Row("a", 1), Row("b", 2)))
    (piece,) = lane.state.scheduler.next(0).run
    assert piece.positions.tolist() == [1, 1, 1] and len(piece) == 3


def test_a_name_that_comes_twice_is_handled_in_order() -> None:
    sink, lane = Heard(), sum_lane(Clock())
    heard(lane, gathered(sink, Row("a", 1, start=True), Row("b", 1, start=True), Row("a", 2), Row("a", 4), Row("b", 8)))
    assert told(sink) == {0: 1, 1: 1, 2: 3, 3: 7, 4: 9}


def test_a_row_behind_the_end_finds_no_sequence_and_a_start_behind_it_a_new_one() -> None:
    sink, lane = Heard(), sum_lane(Clock())
    heard(lane, gathered(sink, Row("a", 1, start=True, end=True), Row("a", 2), Row("a", 5, start=True), Row("a", 1)))
    assert any(isinstance(a, Failed) and "must set sequence_start" in str(a.error) for a in sink.answers)
    assert told(sink) == {0: 1, 1: UnknownSequence, 2: 5, 3: 6}
    assert set(lane.state.sequences.names) == {("", "a")} and len(lane.state.sequences) == 1


def test_a_row_that_fails_does_so_alone_and_ends_nothing() -> None:
    sink, lane = Heard(), sum_lane(Clock())
    heard(lane, gathered(sink, Row("a", start=True), Row("b", start=True)))
    sink.take()
    rows = (Row("x"), Row("a", np.nan, end=True), Row("b", 2, end=True, position=7), Row("a", 3), Row("b", 4))
    heard(lane, gathered(sink, *rows))
    assert told(sink) == {0: UnknownSequence, 1: InvalidInput, 2: WrongPosition, 3: 4, 4: 5}
    assert len(lane.state.sequences) == 2


def test_a_step_sent_again_is_answered_from_memory_and_may_end_its_sequence() -> None:
    sink, lane = Heard(), sum_lane(Clock())
    heard(lane, gathered(sink, Row("a", 5, start=True, position=0), Row("b", 7, start=True, position=0)))
    sink.take()
    heard(lane, gathered(sink, Row("a", 5, position=0, end=True), Row("b", 7, position=0)))
    assert told(sink) == {0: 5, 1: 7}
    assert set(lane.state.sequences.names) == {("", "b")}


def test_when_all_is_taken_a_start_fails_and_the_rows_beside_it_do_not() -> None:
    sink, lane = Heard(), sum_lane(Clock(), limits=Limits(rows=4, tokens=64, sequences=1))
    heard(lane, gathered(sink, Row("a", 1, start=True)))
    heard(lane, gathered(sink, Row("b", 1, start=True), Row("a", 1), Row("c", 1)))
    assert told(sink) == {0: Overloaded, 1: 2, 2: UnknownSequence}
    assert set(lane.state.sequences.names) == {("", "a")}


def test_who_leaves_takes_only_his_rows_with_him() -> None:
    sink, lane = Heard(), sum_lane(Clock())
    heard(lane, gathered(sink, *(Row(name, start=True) for name in "abc")))
    sink.take()
    heard(lane, gathered(sink, Row("a", 1), Row("b", 1), Row("c", 1), Row("b", 1)), Leave(sink, frozenset({1})))
    assert told(sink) == {0: 2, 1: Cancelled, 2: 2, 3: WrongPosition}


ROWS = st.lists(
    st.builds(Row, st.sampled_from("abc"), st.sampled_from([1.0, 2.0, np.nan]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(gatherings=st.lists(ROWS, max_size=4))
@settings(deadline=None, max_examples=60)
def test_gathered_rows_are_answered_as_rows_that_come_alone(gatherings: list[list[Row]]) -> None:
    together, alone = Heard(), Heard()
    one, other = sum_lane(Clock()), sum_lane(Clock())
    for rows in gatherings:
        heard(one, gathered(together, *rows))
        for key, row in enumerate(rows):
            single = gathered(alone, row)
            single.steps.keys[0] = key
            other.post(single)
        heard(other)
        assert told(together) == told(alone)
        assert set(one.state.sequences.names) == set(other.state.sequences.names)
        assert len(one.state.sequences) == len(other.state.sequences)


def test_the_owner_of_a_sequence_that_is_begun_anew_hears_that_it_is_closed() -> None:
    owner, sink, lane = Heard(), Heard(), sum_lane(Clock())
    lane.post(Open(owner, 3, ("", "a"), Mode.FRESH, 1))
    heard(lane, gathered(sink, Row("b", start=True), Row("a", start=True)))
    assert told(sink) == {0: 1, 1: 1}
    assert [answer for answer in owner.take() if isinstance(answer, Closed)] == [Closed((3,))]
