"""The client's book-keeping against a server in the same thread: no wire, every interleaving that hypothesis finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.client.ledger import Ledger, Opening
from headrace.client.served import ServedModel
from headrace.client.session import Session
from headrace.client.settings import Settings
from headrace.client.step import Step
from headrace.errors import DeadlineExceeded, InvalidInput, Overloaded, TakenOver, Unavailable, WrongPosition
from headrace.protos import sequences_pb2 as pb

from .fake import SUM, Cut, FakeServer, Row, Stream

SERVED = ServedModel("sum", "1", SUM, "CPU")


class Line:
    """A session and a server, joined by function calls."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **dials: float) -> None:
        self.now = 0.0
        self.loop = loop
        self.server = FakeServer()
        self.session = Session(Settings(**dials), wake=lambda: None, alarm=lambda: None)
        self.connect()

    def connect(self) -> None:
        self.stream = Stream()
        self.session.online()

    def open(self) -> Ledger:
        opening = Opening("sum", "", "a", pb.FRESH, 1, "")
        ledger = self.session.open(opening, self.loop.create_future(), self.now + 30)
        ledger.served = SERVED
        self.exchange()
        return ledger

    def submit(self, ledger: Ledger, number: int, patience: float = 30.0) -> Step:
        """A step that adds `number`."""
        values = np.array([[number, 0]], "<f4").tobytes()
        step = Step(ledger.key, (values,), 1, self.now + patience, self.loop.create_future())
        self.session.submit(ledger, step)
        return step

    def write(self, cut: Cut | None = None) -> bool:
        """One frame; what is answered stays in the stream's queue. Returns whether there was one."""
        frame = self.session.next_frame(self.now)
        if frame is None:
            return False
        reply = self.server.handle(self.stream, frame, cut)
        if reply is not None:
            self.stream.replies.put_nowait(reply)
        return True

    def read(self) -> None:
        while not self.stream.replies.empty():
            reply = self.stream.replies.get_nowait()
            if reply is not None:
                self.session.receive(reply, self.now)

    def exchange(self) -> None:
        """Until neither side has anything to say."""
        self.read()
        while self.write():
            self.read()

    def break_off(self) -> None:
        self.session.offline("cut")
        self.server.leave(self.stream)
        self.connect()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def outcome(step: Step) -> float | type[BaseException] | None:
    """The running sum that was answered, or the kind of error; None while it is open."""
    if not step.answer.done():
        return None
    if step.answer.cancelled():
        return asyncio.CancelledError
    error = step.answer.exception()
    return float(np.asarray(step.answer.result())[-1, 0]) if error is None else type(error)


ACTIONS = st.sampled_from(
    ["submit", "submit", "submit", "hasty", "write", "write", "read", "cut", "refuse", "cancel", "later"]
)


@settings(max_examples=300, deadline=None)
@given(actions=st.lists(st.tuples(ACTIONS, st.integers(0, 3)), max_size=40))
def test_every_step_is_applied_once_or_known_not_to_be(actions: list[tuple[str, int]]) -> None:
    """Each step adds a power of two of its own, so that a sum tells exactly which steps were applied before it."""
    with closing(asyncio.new_event_loop()) as loop:
        _play(Line(loop, grace=0.1), actions)


def _play(line: Line, actions: list[tuple[str, int]]) -> None:
    ledger = line.open()
    steps: list[Step] = []
    for action, number in actions:
        match action:
            case "submit" if len(steps) < 20:
                steps.append(line.submit(ledger, 1 << len(steps)))
            case "hasty" if len(steps) < 20:
                steps.append(line.submit(ledger, 1 << len(steps), patience=0.15 * number))
            case "write":
                line.server.paused = number == 0
                line.write()
            case "read":
                line.server.release()
                line.read()
            case "cut":
                line.write(list(Cut)[number])
                line.break_off()
            case "refuse":
                line.server.refuse = [_overloaded, _once(pb.OVERLOADED), _once(pb.INVALID_INPUT), lambda row: None][
                    number
                ]
            case "cancel" if steps:
                step = steps[-1 - number % len(steps)]
                if step.answer.cancel():
                    line.session.give_up(ledger, step)
            case "later":
                line.now += 0.1
    line.server.refuse = lambda row: None
    for _ in range(20):
        line.now += 0.1
        line.server.release()
        line.read()
        line.exchange()
    _check(line, ledger, steps)


def _check(line: Line, ledger: Ledger, steps: list[Step]) -> None:
    live = line.server.live["a"]
    applied = int(live.total[0])
    outcomes = [outcome(step) for step in steps]
    assert None not in outcomes
    assert live.applied == applied.bit_count() == live.position == ledger.position
    for number, result in enumerate(outcomes):
        below = applied & ((2 << number) - 1)
        if isinstance(result, float):
            assert result == below and applied >> number & 1  # applied, in order, once, and nothing else before it
        elif result not in (asyncio.CancelledError, DeadlineExceeded):  # of these nobody knows
            assert result in (InvalidInput, WrongPosition, Overloaded) and not applied >> number & 1
    follow = line.submit(ledger, 0)
    line.exchange()
    assert outcome(follow) == applied  # whatever happened, the sequence is usable


def _overloaded(row: Row) -> pb.Error:
    return pb.Error(code=pb.OVERLOADED, message="full", retry_after_ms=100)


def _once(code: pb.ErrorCode) -> Callable[[Row], pb.Error | None]:
    left = [pb.Error(code=code, message="once", retry_after_ms=100)]
    return lambda row: left.pop() if left else None


def test_steps_called_before_a_failure_fail_with_it_and_later_ones_do_not(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop, pipeline=2)
    ledger = line.open()
    line.server.refuse = _once(pb.INVALID_INPUT)
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
    line.server.refuse = _once(pb.OVERLOADED)
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


def test_during_an_outage_callers_wait_no_longer_than_they_said(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop, grace=0.5)
    ledger = line.open()
    sent, waits = line.submit(ledger, 1, patience=1.0), line.submit(ledger, 2, patience=5.0)
    line.write(Cut.UNANSWERED)
    line.session.offline("the cable is out")
    while outcome(sent) is None:
        line.now = line.session.due
        line.session.tick(line.now)
    assert line.now == 1.5
    assert outcome(sent) is Unavailable and "the cable is out" in str(sent.answer.exception())
    assert outcome(waits) is None
    line.connect()
    line.exchange()
    assert outcome(waits) == 3  # the first one had been applied


def test_a_reply_of_another_protocol_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    with pytest.raises(ValueError, match="could not read a frame"):
        line.session.receive(pb.Reply(errors=[pb.Error(code=pb.INVALID_INPUT, message="no")]), 0.0)


def test_dead_sequences_leave_nothing_behind(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    step = line.submit(ledger, 1)
    line.session.receive(pb.Reply(errors=[pb.Error(key=ledger.key, code=pb.TAKEN_OVER, message="over")]), 0.0)
    assert outcome(step) is TakenOver
    assert line.session.next_frame(0.0) is None
    assert repr(line.session).startswith("Session(keys=0,")
