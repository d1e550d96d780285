"""A lane whose turn is taken by whoever brings work, while its own thread is at rest."""

from __future__ import annotations

import numpy as np

from headrace.server.alone import BRIEF, LONG
from headrace.server.commands import Step
from headrace.server.journal import NoJournal
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.steps import NEVER_AGAIN, Failed, Opened, Stepped

from .fakes import CUT_SUM, Clock, FlakyJournal, Heard, SumEngine, admit, steps, sum_lane
from .test_lane_faults import LIMITS, LyingEngine, Ringing, handled, opening, row, running, unavailable

#: Steps of one sequence.
COUNT = 100


def opened(lane: Lane, client: Heard, *keys: int) -> None:
    """Nobody has the lane then: its thread has not begun."""
    admit(lane, *(opening(client, key) for key in keys))
    assert [type(answer) for answer in client.take()] == [Opened] * len(keys)


def positions(client: Heard) -> list[int]:
    """Of the steps that were answered, in order."""
    answers = client.take()
    assert all(isinstance(answer, Stepped) for answer in answers), answers
    return [int(answer.positions[0]) for answer in answers if isinstance(answer, Stepped)]


def test_a_step_is_answered_when_lend_returns() -> None:
    client, lane = Heard(), sum_lane(Clock())
    opened(lane, client, 1)
    for position in range(3):
        lane.lend(row(client, 1, position))
        (answer,) = client.take()
        assert isinstance(answer, Stepped)
        assert answer.outputs[0].tolist() == [[position + 1.0] * 2]


def test_it_stays_behind_what_was_posted() -> None:
    client, lane = Heard(), sum_lane(Clock())
    opened(lane, client, 1)
    lane.post(row(client, 1, 0))
    lane.lend(row(client, 1, 1))  # not here, for the other one was first
    assert not client.take()
    with running(lane):
        handled(lane)
        handled(lane)
    assert positions(client) == [0, 1]


def test_who_has_the_lane_is_not_disturbed() -> None:
    client, lane = Heard(), sum_lane(Clock())
    lane.turns.own()
    lane.post(opening(client))
    lane.lend(row(client, 1, 0))
    assert not client.take()
    lane.admit(wait=False)
    lane.tick()
    assert [type(answer) for answer in client.take()] == [Opened, Stepped]


def test_what_is_left_behind_the_turn_is_the_threads() -> None:
    """A long step has parts, of which a turn runs one."""
    client = Ringing()
    lane = sum_lane(Clock(), spec=CUT_SUM, limits=Limits(rows=4, tokens=64, sequences=8, idle=60.0, part=1, few=0))
    admit(lane, opening(client))
    lane.lend(Step(steps(client, [(1, 0, [1.0] * 4)])))
    assert not client.told.is_set() and lane.state.underway
    with running(lane):
        assert client.told.wait(10)


def test_lent_turns_and_the_threads_own_keep_the_order_of_a_caller() -> None:
    client, lane = Heard(), sum_lane(Clock())
    opened(lane, client, 1)
    with running(lane):
        for position in range(COUNT):
            step = Step(steps(client, [(1, position, [1.0])], acked=[NEVER_AGAIN]))
            (lane.post if position % 3 else lane.lend)(step)
        for _ in range(COUNT):  # one turn at least each, in which one step of the sequence runs
            handled(lane)
    assert positions(client) == list(range(COUNT))


def test_a_fault_in_a_lent_turn_breaks_the_lane_as_it_does_in_its_own() -> None:
    client, lane = Heard(), sum_lane(Clock(), engine=LyingEngine(LIMITS.slots), limits=LIMITS)
    opened(lane, client, 1, 2)
    lane.lend(row(client, 1, 0))
    assert lane.broken
    assert unavailable(client.take()) == [(1, 0), (1, None), (2, None)]
    lane.lend(row(client, 2, 0))
    with running(lane):
        handled(lane, row(client, 2, 0))
        assert unavailable(client.take()) == [(2, 0), (2, 0)]


def test_a_thread_that_rests_when_the_lane_breaks_refuses_from_then_on() -> None:
    client, lane = Heard(), sum_lane(Clock(), engine=LyingEngine(LIMITS.slots), limits=LIMITS)
    with running(lane):
        handled(lane, opening(client))
        lane.lend(row(client, 1, 0))
        handled(lane, row(client, 1, 0))
        assert lane.broken
        client.take()
        handled(lane, row(client, 1, 0))
        assert unavailable(client.take()) == [(1, 0)]


def test_lent_turns_leave_idle_sequences_to_the_lanes_own() -> None:
    client, clock = Heard(), Clock()
    lane = sum_lane(clock, limits=Limits(rows=4, tokens=64, sequences=8, idle=60.0))
    opened(lane, client, 1, 2)
    for position in range(3):
        clock.now += 31
        lane.lend(row(client, 1, position))
    assert [type(answer) for answer in client.take()] == [Stepped] * 3 and len(lane.state.sequences) == 2
    lane.admit(wait=False)
    assert [answer.key for answer in client.take() if isinstance(answer, Failed)] == [2]
    assert len(lane.state.sequences) == 1


def test_a_lane_is_not_brief_while_some_of_its_small_ticks_take_long() -> None:
    """Whatever they take long for, and whatever comes of them. To lend it or not is up to who posts."""
    client, clock, slow = Heard(), Clock(), SumEngine(LIMITS.slots)

    def refuse(values: np.ndarray) -> bool:
        clock.now += LONG * 2 if len(slow.batches) % 10 == 0 else BRIEF / 2
        return False

    slow.refuse = refuse
    lane, brief = sum_lane(clock, engine=slow, limits=LIMITS), 0
    opened(lane, client, 1)
    for position in range(100):
        brief += bool(lane.brief)
        lane.lend(Step(steps(client, [(1, position, [1.0])], acked=[NEVER_AGAIN])))
    assert 1 <= brief <= 9  # before the first of them


def test_a_lane_with_a_journal_is_never_brief() -> None:
    lanes = [sum_lane(Clock(), journal=journal) for journal in (NoJournal(), FlakyJournal())]
    for lane in lanes:
        client = Heard()
        opened(lane, client, 1)
        lane.lend(row(client, 1, 0))
    assert [bool(lane.brief) for lane in lanes] == [True, False]


def test_a_step_that_is_no_step_is_refused_in_a_lent_turn_too() -> None:
    client, lane = Heard(), sum_lane(Clock())
    opened(lane, client, 1)
    lane.lend(row(client, 1, 5))
    (answer,) = client.take()
    assert isinstance(answer, Failed) and answer.position == 5
