"""Frames, keys, outages and ends, as a session has them."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from headrace.client.session import FrameRefused
from headrace.errors import HeadraceError, TakenOver, Unavailable, UnknownSequence
from headrace.protos import sequences_pb2 as pb

from .fake import Cut
from .line import Line, outcome


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


def test_a_frame_that_is_refused_is_told(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    with pytest.raises(FrameRefused, match="could not read a frame"):
        line.session.receive(pb.Reply(errors=[pb.Error(code=pb.INVALID_INPUT, message="no")]), 0.0)


def test_dead_sequences_leave_nothing_behind(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    step = line.submit(ledger, 1)
    line.session.receive(pb.Reply(errors=[pb.Error(key=ledger.key, code=pb.TAKEN_OVER, message="over")]), 0.0)
    assert outcome(step) is TakenOver
    assert line.session.next_frame(0.0) is None
    assert repr(line.session).startswith("Session(keys=0,")


def test_keys_of_dead_sequences_are_used_again_on_the_next_stream(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    kept, lost = line.open("a"), line.open("b")
    line.session.receive(pb.Reply(errors=[pb.Error(key=lost.key, code=pb.TAKEN_OVER, message="over")]), 0.0)
    assert line.open("c").key == 2  # answers to the old one may still come
    line.break_off()
    line.exchange()
    again = line.open("d")
    assert again.key == lost.key == 1
    line.session.close(lost, loop.create_future(), 30.0)  # what is done to the old one leaves the new one alone
    step, other = line.submit(again, 4), line.submit(kept, 1)
    line.exchange()
    assert [outcome(step), outcome(other)] == [4, 1]


def test_the_key_of_a_refused_open_is_used_again(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    line.server.refuse_open = lambda told: pb.Error(code=pb.ALREADY_EXISTS, message="live")
    assert [line.open("a").key for _ in range(3)] == [0, 0, 0]


def test_a_sequence_that_is_closed_unasked_is_lost_and_its_key_rests(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    lost, other = line.open("a"), line.open("b")
    line.server.paused = True
    written = line.submit(lost, 1)
    line.write()
    waiting = line.submit(lost, 2)
    line.session.receive(pb.Reply(closed=np.array([lost.key], "<u4").tobytes()), line.now)
    assert [outcome(written), outcome(waiting)] == [UnknownSequence, UnknownSequence]
    with pytest.raises(UnknownSequence, match="closed; open it again"):
        line.submit(lost, 3)
    closed: asyncio.Future[HeadraceError | None] = loop.create_future()
    line.session.close(lost, closed, line.now + 30)
    assert closed.result() is None
    assert not line.write()  # neither the step nor a close is written any more
    line.server.release()
    late = pb.Error(key=lost.key, position=0, code=pb.UNKNOWN_SEQUENCE, message="closed")
    fresh, step = line.open("c"), line.submit(other, 4)
    line.session.receive(pb.Reply(errors=[late]), line.now)  # what the server still says of the old one
    anew = line.submit(fresh, 5)
    line.exchange()
    assert fresh.key not in (lost.key, other.key)
    assert [outcome(step), outcome(anew)] == [4, 5]


def test_a_close_that_is_not_needed_any_more_is_not_written(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open("a")
    closed: asyncio.Future[HeadraceError | None] = loop.create_future()
    line.session.close(ledger, closed, line.now + 30)
    line.session.receive(pb.Reply(closed=np.array([ledger.key], "<u4").tobytes()), line.now)
    assert closed.result() is None
    assert not line.write()  # it would hit whatever has the key by then


def test_a_cancel_never_hits_the_step_that_took_the_place(loop: asyncio.AbstractEventLoop) -> None:
    line = Line(loop)
    ledger = line.open()
    dropped = line.submit(ledger, 1)
    line.write(Cut.BEFORE)
    line.break_off()
    line.server.paused = True
    line.write()  # the open
    dropped.answer.cancel()
    line.session.give_up(ledger, dropped)
    after = line.submit(ledger, 2)
    line.read()
    line.write()  # the new step, at the position of the one that was never applied
    line.server.release()
    line.exchange()
    assert outcome(after) == 2
