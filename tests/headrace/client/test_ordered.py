"""What becomes of the steps of one sequence when some of them fail, are cancelled, or come late."""

from __future__ import annotations

import asyncio

import pytest

from headrace.errors import DeadlineExceeded, InvalidInput, WrongPosition
from headrace.protos import sequences_pb2 as pb

from .fake import Cut
from .line import Line, once, outcome


def test_steps_called_before_a_failure_fail_with_it_and_later_ones_do_not(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop, pipeline=2)
    ledger = line.open()
    line.server.refuse = once(pb.INVALID_INPUT)
    before = [line.submit(ledger, 1 << n) for n in range(4)]  # two of them are not even sent
    line.write()
    line.read()
    later = line.submit(ledger, 16)
    line.exchange()
    assert [outcome(s) for s in before] == [InvalidInput, WrongPosition, WrongPosition, WrongPosition]
    assert outcome(later) == 16


def test_steps_called_behind_one_that_is_cancelled_in_the_queue_fail(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop, pipeline=1)
    ledger = line.open()
    sent, dropped, relied = (line.submit(ledger, 1 << n) for n in range(3))
    line.write()
    dropped.answer.cancel()
    line.session.give_up(ledger, dropped)
    after = line.submit(ledger, 8)
    line.exchange()
    assert [outcome(s) for s in (sent, relied, after)] == [1, WrongPosition, 9]


def test_a_retry_that_waited_for_earlier_steps_too_is_not_forgotten(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    line.server.paused = True
    line.submit(ledger, 1)
    line.write()
    refused = line.submit(ledger, 2)
    line.session.next_frame(line.now)
    told = pb.Error(key=ledger.key, position=1, code=pb.OVERLOADED, message="full", retry_after_ms=100)
    line.session.receive(pb.Reply(errors=[told]), line.now)  # overtakes the answer to the step before
    line.server.release()
    line.exchange()
    assert line.session.due == 0.1
    line.now = line.session.due
    line.exchange()
    assert outcome(refused) == 3


def test_a_lost_answer_is_asked_for_until_it_is_given(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    step = line.submit(ledger, 1)
    line.write(Cut.UNANSWERED)
    line.break_off()
    line.server.refuse = once(pb.OVERLOADED)
    line.exchange()
    assert outcome(step) is None
    line.now += 0.2
    line.exchange()
    assert outcome(step) == 1


def test_an_answer_that_is_no_longer_kept_fails_its_own_step_alone(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    steps = [line.submit(ledger, 1), line.submit(ledger, 2)]
    line.write(Cut.WITHIN)
    line.server.live["a"].kept.clear()
    line.break_off()
    line.exchange()
    assert [outcome(s) for s in steps] == [DeadlineExceeded, 3]
    assert "is applied" in str(steps[0].answer.exception())


def test_a_late_step_does_not_ring_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    line.submit(ledger, 1, patience=1.0)
    line.write(Cut.UNANSWERED)
    line.break_off()
    line.write()  # the open, whose answer brings the step up for sending again
    line.read()
    line.session.offline("cut")
    line.now = 2.0
    line.session.tick(line.now)
    assert line.session.due > line.now


def test_a_cancelled_step_that_was_applied_all_the_same_counts(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    first = line.submit(ledger, 1)
    line.write()  # applied, its answer on the way
    first.answer.cancel()
    line.session.give_up(ledger, first)
    second = line.submit(ledger, 2)
    line.exchange()
    assert outcome(second) == 3
    assert ledger.position == 2


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_cancelled_step_that_still_queues_is_never_applied(loop: asyncio.AbstractEventLoop, pipelined: bool) -> None:
    line = Line(loop)
    ledger = line.open()
    line.server.paused = True
    relied = [line.submit(ledger, 1), line.submit(ledger, 2)] if pipelined else [line.submit(ledger, 1)]
    line.write()
    relied[0].answer.cancel()
    line.session.give_up(ledger, relied[0])
    after = line.submit(ledger, 4)
    line.exchange()
    line.server.release()
    line.exchange()
    assert [outcome(s) for s in relied[1:]] == [WrongPosition] * (len(relied) - 1)
    assert outcome(after) == (WrongPosition if pipelined else 4)  # it relied on the second step, not on the first


def test_nothing_goes_out_behind_a_cancelled_step_until_its_fate_is_known(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    first = line.submit(ledger, 1)
    line.write()
    first.answer.cancel()
    line.session.give_up(ledger, first)
    line.submit(ledger, 2)
    frame = line.session.next_frame(line.now)
    assert frame is not None and not frame.steps.keys and frame.cancels.keys


def test_steps_cancelled_one_after_the_other_leave_the_sequence_where_it_was(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    line.server.paused = True
    steps = [line.submit(ledger, 1 << n) for n in range(3)]
    line.write()
    for step in (steps[1], steps[0]):  # the server's word on the third step still counts on the first one
        step.answer.cancel()
        line.session.give_up(ledger, step)
    line.exchange()
    line.server.paused = False
    after = line.submit(ledger, 8)
    line.exchange()
    assert (outcome(after), ledger.position) == (8, 1)


def test_a_position_that_nothing_explains_is_taken_from_the_server(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    line.server.live["a"].position = 7
    first = line.submit(ledger, 1)
    line.exchange()
    second = line.submit(ledger, 2)
    line.exchange()
    assert [outcome(first), outcome(second), ledger.position] == [WrongPosition, 2, 8]


def test_a_step_cancelled_before_the_connection_was_lost_is_not_sent_again(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    kept, dropped = line.submit(ledger, 1), line.submit(ledger, 2)
    line.write(Cut.WITHIN)  # the first one is applied
    dropped.answer.cancel()
    line.session.give_up(ledger, dropped)
    line.break_off()
    line.write()  # the open alone
    line.read()
    line.break_off()  # and once more, before the first one's answer was asked for
    line.exchange()
    assert outcome(kept) == 1
    assert line.server.live["a"].applied == 1


def test_a_sequence_that_was_moved_by_others_is_given_up(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    line.server.live["a"].position = 5
    line.break_off()
    line.exchange()
    with pytest.raises(WrongPosition, match="left at position 0 and found at 5"):
        line.submit(ledger, 1)


def test_a_step_called_during_a_pause_goes_out_when_it_ends(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    line.server.refuse = once(pb.OVERLOADED)
    refused = line.submit(ledger, 1)
    line.write()
    refused.answer.cancel()
    line.session.give_up(ledger, refused)
    line.read()  # nobody waits any more for what it was to be retried for
    after = line.submit(ledger, 2)
    line.exchange()
    assert outcome(after) is None
    line.now = line.session.due
    assert line.now == 0.1
    line.exchange()
    assert outcome(after) == 2
