"""Sequences of chunks of exactly n, which a shorter one ends: the lane, driven by hand."""

from __future__ import annotations

from headrace.errors import InvalidInput
from headrace.server.commands import Mode, Open, Step
from headrace.server.lane import Lane
from headrace.server.steps import NEXT, Failed, Stepped
from headrace.spec import Chunk

from .fakes import SUM, Clock, FlakyJournal, Heard, steps, sum_lane

EXACT = SUM.model_copy(update={"chunk": Chunk(longest=2, exactly=2, padded_end=True)})


def opened(journal: FlakyJournal | None = None) -> tuple[Lane, Heard]:
    lane, client = sum_lane(Clock(), spec=EXACT, journal=journal), Heard()
    lane.post(Open(client, 1, ("", "a"), Mode.FRESH, 7))
    lane.admit(wait=False)
    client.take()
    return lane, client


def step(lane: Lane, client: Heard, *rows: tuple[int, int, list[float]]) -> list[object]:
    lane.post(Step(steps(client, rows, acked=[0] * len(rows))))
    lane.admit(wait=False)
    while lane.state.scheduler:
        lane.tick()
    return list(client.take())


def test_nothing_goes_behind_a_shorter_step_and_that_one_is_answered_again() -> None:
    lane, client = opened()
    first, last = step(lane, client, (1, 0, [1, 1]), (1, 2, [1]))
    assert isinstance(first, Stepped) and isinstance(last, Stepped)
    for position in (3, NEXT):
        (answer,) = step(lane, client, (1, position, [1, 1]))
        assert isinstance(answer, Failed) and isinstance(answer.error, InvalidInput)
        assert "the sequence has ended: its last step was shorter than the 2" in str(answer.error)
    (again,) = step(lane, client, (1, 2, [1]))
    assert isinstance(again, Stepped) and again.outputs[0].tolist() == last.outputs[0].tolist()


def test_what_is_queued_behind_a_shorter_step_is_refused_at_once() -> None:
    lane, client = opened()
    answers = step(lane, client, (1, 0, [1]), (1, 1, [1, 1]))
    assert sorted(type(answer).__name__ for answer in answers) == ["Failed", "Stepped"]


def test_a_shorter_step_that_failed_has_ended_nothing() -> None:
    lane, client = opened(FlakyJournal(failures=1))
    (failed,) = step(lane, client, (1, 0, [1]))
    assert isinstance(failed, Failed)
    (answer,) = step(lane, client, (1, 0, [1, 1]))
    assert isinstance(answer, Stepped)


def test_an_end_that_is_acknowledged_is_an_end_still() -> None:
    lane, client = opened()
    step(lane, client, (1, 0, [1]))
    lane.post(Step(steps(client, [(1, 1, [1])], acked=[1])))
    lane.admit(wait=False)
    (answer,) = client.take()
    assert isinstance(answer, Failed) and isinstance(answer.error, InvalidInput)
