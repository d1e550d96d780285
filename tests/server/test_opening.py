"""Who owns a sequence after opens, take-overs, closes and restarts that meet each other in one batch."""

from __future__ import annotations

import pytest

from headrace.errors import HeadraceError, Overloaded, TakenOver, UnknownSequence
from headrace.server.commands import Close, Mode, NamedSteps, Open, Step
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.steps import NEVER_AGAIN, NEXT, Answer, Closed, Failed, Opened, Stepped

from .fakes import Clock, Heard, admit, named_row, steps, sum_lane

A, B = 1, 2  # the keys of two clients, and their incarnations


def run(lane: Lane) -> None:
    while lane.state.scheduler:
        lane.tick()


def opening(client: Heard, key: int, mode: Mode, name: str = "s") -> Open:
    return Open(client, key, ("", name), mode, key)


def named(client: Heard, name: str = "s", *, start: bool = True, value: float = 1) -> NamedSteps:
    return named_row(steps(client, [(9, NEXT, [value])], acked=[NEVER_AGAIN]), name, start=start)


def errors(answers: list[Answer]) -> list[tuple[int | None, type[HeadraceError]]]:
    """Position and kind of each error."""
    return [(a.position, type(a.error)) for a in answers if isinstance(a, Failed)]


def owned(lane: Lane, client: Heard, *rows: float) -> None:
    """A's sequence "s", with so many rows queued."""
    admit(lane, opening(client, A, Mode.FRESH))
    client.take()
    for position, value in enumerate(rows):
        admit(lane, Step(steps(client, [(A, position, [value])])))


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.REJOIN])
def test_what_is_about_to_close_is_not_resumed_and_answers_its_owner(mode: Mode) -> None:
    lane, a, b = sum_lane(Clock()), Heard(), Heard()
    owned(lane, a)
    admit(lane, Step(steps(a, [(A, 0, [1])])), Close(a, (A,)), opening(b, B, mode))
    assert errors(b.take()) == [(None, UnknownSequence)]
    run(lane)
    assert [type(answer) for answer in a.take()] == [Stepped, Closed]
    assert not len(lane.state.sequences)


def test_replacing_what_is_about_to_close_answers_its_owner_and_begins_anew() -> None:
    lane, a, b = sum_lane(Clock()), Heard(), Heard()
    owned(lane, a, 1, 2)
    admit(lane, Close(a, (A,)), opening(b, B, Mode.REPLACE))
    told = a.take()
    assert errors(told) == [(0, TakenOver), (1, TakenOver)] and told[-1] == Closed((A,)) and len(told) == 3
    assert b.take() == [Opened(B, "1", 0, resumed=False)]
    admit(lane, Step(steps(a, [(A, 0, [1])])))
    assert errors(a.take()) == [(0, UnknownSequence)]  # closed, as it had asked


@pytest.mark.parametrize(("mode", "resumed"), [(Mode.RESUME, True), (Mode.REPLACE, False)])
def test_the_old_owner_hears_of_every_row_and_of_its_loss(mode: Mode, resumed: bool) -> None:
    lane, a, b = sum_lane(Clock()), Heard(), Heard()
    owned(lane, a, 1, 2)
    admit(lane, opening(b, B, mode))
    assert errors(a.take()) == [(0, TakenOver), (1, TakenOver), (None, TakenOver)]
    assert b.take() == [Opened(B, "1", 0, resumed=resumed)]
    assert not lane.state.scheduler and lane.state.kept.total == 0


def test_a_replacement_needs_no_room_in_a_full_table() -> None:
    lane, a, b = sum_lane(Clock(), limits=Limits(rows=4, sequences=1)), Heard(), Heard()
    owned(lane, a, 1)
    admit(lane, Close(a, (A,)), opening(b, B, Mode.REPLACE))
    assert isinstance(b.take()[-1], Opened)


def test_a_restart_by_name_tells_the_owner_that_its_sequence_is_closed() -> None:
    lane, a, stock = sum_lane(Clock()), Heard(), Heard()
    owned(lane, a)
    admit(lane, named(stock))
    assert a.take() == [Closed((A,))]
    run(lane)
    assert isinstance(stock.take()[-1], Stepped)


def test_a_restart_by_name_lets_what_is_queued_be_answered_first() -> None:
    lane, a, stock = sum_lane(Clock()), Heard(), Heard()
    owned(lane, a, 1, 2)
    admit(lane, named(stock, value=5))
    assert not a.take()
    run(lane)
    assert [type(answer) for answer in a.take()] == [Stepped, Stepped, Closed]
    (stepped,) = stock.take()
    assert isinstance(stepped, Stepped) and stepped.outputs[0][0, 0] == 5


def test_a_restart_without_room_changes_nothing() -> None:
    lane, a, stock = sum_lane(Clock(), limits=Limits(rows=4, sequences=1)), Heard(), Heard()
    owned(lane, a, 1)
    admit(lane, named(stock))
    assert errors(stock.take()) == [(NEXT, Overloaded)]
    run(lane)
    admit(lane, Step(steps(a, [(A, 1, [2])])))
    run(lane)
    sums = [answer.outputs[0][0, 0] for answer in a.take() if isinstance(answer, Stepped)]
    assert sums == [1, 3]


def test_a_restart_of_an_idle_sequence_needs_no_room() -> None:
    lane, a, stock = sum_lane(Clock(), limits=Limits(rows=4, sequences=1)), Heard(), Heard()
    owned(lane, a)
    admit(lane, named(stock))
    run(lane)
    assert isinstance(stock.take()[-1], Stepped) and len(lane.state.sequences) == 1


def test_a_new_name_in_a_full_table_is_refused_without_effect() -> None:
    lane, a, stock = sum_lane(Clock(), limits=Limits(rows=4, sequences=1)), Heard(), Heard()
    owned(lane, a)
    admit(lane, opening(a, 5, Mode.FRESH, "other"), named(stock, "third"))
    assert errors(a.take()) == [(None, Overloaded)] and errors(stock.take()) == [(NEXT, Overloaded)]
    assert set(lane.state.sequences.names) == {("", "s")}
