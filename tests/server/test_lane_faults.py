"""Faults of ours: what is contained, and what a lane that is broken still does. Some of these lanes run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event

import numpy as np
import pytest

from headrace.errors import ModelFailed, Unavailable
from headrace.server.batch import Batch, Outcome
from headrace.server.commands import Barrier, Cancel, Close, Command, Leave, Mode, Open, Step
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.state import State
from headrace.server.steps import NEVER_AGAIN, NEXT, Answer, Answers, Closed, Failed, Opened, Stepped, Steps
from headrace.server.writing.waits import Waited
from headrace.server.writing.writers import Writers

from .fakes import CUT_SUM, Clock, Heard, SumEngine, named_row, steps, sum_lane

LIMITS = Limits(rows=4, tokens=64, sequences=8, idle=60.0, few=0)


class BadMeter:
    """Cannot measure anything."""

    def started(self, pieces: Sequence[Steps], now: float) -> None:
        raise RuntimeError("no figures (scripted)")

    def ran(self, batch: Batch, seconds: float, compute_cpu: float, calls: int) -> None:
        raise RuntimeError("no figures (scripted)")

    def settled(self, pieces: Sequence[Steps], sound: np.ndarray, now: float, calls: int) -> None:
        raise RuntimeError("no figures (scripted)")

    def answered(self, answers: Answers) -> None:
        raise RuntimeError("no figures (scripted)")

    def admitted(self, answers: Answers) -> None:
        raise RuntimeError("no figures (scripted)")

    def expired(self, sequences: int) -> None:
        raise RuntimeError("no figures (scripted)")

    def wrote(self, waited: Waited) -> None:
        raise RuntimeError("no figures (scripted)")

    def watch(self, state: State, writers: Writers) -> None:
        raise RuntimeError("no figures (scripted)")


@dataclass
class LyingEngine:
    """Holds back an output: the commit cannot be completed."""

    slots: int

    def run(self, batch: Batch) -> Outcome:
        whole = SumEngine(self.slots).run(batch)
        return replace(whole, outputs=replace(whole.outputs, cells=whole.outputs.cells[:1]))


@dataclass(eq=False)
class Ringing(Heard):
    """Tells when a step is answered."""

    told: Event = field(default_factory=Event)

    def deliver(self, answer: Answer) -> None:
        if isinstance(answer, Stepped):
            self.told.set()


@contextmanager
def running(lane: Lane) -> Iterator[Lane]:
    lane.start()
    try:
        yield lane
    finally:
        lane.stop()


def handled(lane: Lane, *commands: Command) -> None:
    """Posts, and returns when the lane's thread has been through all of it."""
    for command in commands:
        lane.post(command)
    done = Event()
    lane.post(Barrier(done.set))
    assert done.wait(10)


def opening(client: Heard, key: int = 1) -> Open:
    return Open(client, key, ("", f"s{key}"), Mode.FRESH, 7)


def row(client: Heard, key: int, position: int, value: float = 1) -> Step:
    return Step(steps(client, [(key, position, [value])], acked=[0]))


def unavailable(answers: list[Answer]) -> list[tuple[int | None, int | None]]:
    """Key and position of each answer, which all say Unavailable."""
    assert all(isinstance(a, Failed) and isinstance(a.error, Unavailable) for a in answers), answers
    return [(a.key, a.position) for a in answers if isinstance(a, Failed)]


def test_a_lane_goes_on_without_its_meter(caplog: pytest.LogCaptureFixture) -> None:
    client, lane = Heard(), sum_lane(Clock(), meter=BadMeter())
    with running(lane):
        handled(lane, opening(client), row(client, 1, 0))
        handled(lane)  # the step ran before this
        assert [type(a) for a in client.take()] == [Opened, Stepped]
        assert not lane.broken
    assert "no figures" in caplog.text


def test_a_barrier_that_cannot_be_passed_harms_nobody_else() -> None:
    lane, loop_is_closed = sum_lane(Clock()), iter(())
    with running(lane):
        handled(lane, Barrier(lambda: next(loop_is_closed)))
        assert not lane.broken


def test_a_broken_lane_answers_all_that_it_holds_once_and_refuses_the_rest() -> None:
    client, lane = Heard(), sum_lane(Clock(), engine=LyingEngine(LIMITS.slots), limits=LIMITS)
    lane.post(opening(client, 1))
    lane.post(opening(client, 2))
    lane.admit(wait=False)
    client.take()
    lane.post(Step(steps(client, [(1, 0, [1]), (2, 0, [1]), (1, 1, [1])])))  # two run, one is parked
    with running(lane):
        handled(lane)
        handled(lane)  # what arrived during the first turn is answered in any case
        assert lane.broken
        assert sorted(unavailable(client.take()), key=str) == sorted(
            [(1, 0), (1, 1), (2, 0), (1, None), (2, None)], key=str
        )
        nothing = np.array([1], np.uint32), np.array([0], np.int64)
        handled(lane, opening(client, 3), row(client, 1, 0), Cancel(client, *nothing), Close(client, (1, 2)))
        assert unavailable(client.take()) == [(3, None), (1, 0), (1, None), (2, None)]
        handled(lane, named_row(steps(client, [(0, NEXT, [1])]), "n", start=True), Leave(client))
        assert unavailable(client.take()) == [(0, NEXT)]


def test_a_broken_lane_answers_a_step_that_is_under_way_too() -> None:
    client, lane = Heard(), sum_lane(Clock(), spec=CUT_SUM, limits=LIMITS)
    for command in (opening(client, 1), opening(client, 2)):
        lane.post(command)
    lane.admit(wait=False)
    client.take()
    lane.state.sequences.position.setflags(write=False)  # the short step cannot be committed
    lane.post(Step(steps(client, [(1, 0, [1] * 9)])))
    lane.admit(wait=False)
    lane.tick()
    lane.post(row(client, 2, 0))
    with running(lane):
        handled(lane)
        handled(lane)
        assert lane.broken and not lane.state.underway
        assert sorted(unavailable(client.take()), key=str) == [(1, 0), (1, None), (2, 0), (2, None)]


def test_a_lane_goes_on_with_what_is_under_way_without_being_asked() -> None:
    """It would else wake up for it only as often as for expiry."""
    told, lane = Event(), sum_lane(Clock(), spec=CUT_SUM, limits=replace(LIMITS, part=1, few=0))
    client = Ringing(told=told)
    lane.post(opening(client))
    lane.post(Step(steps(client, [(1, 0, [1] * 16)])))
    with running(lane):
        assert told.wait(10)


def test_a_command_that_breaks_the_lane_half_way_is_answered_once_in_all_its_rows() -> None:
    client, lane = Heard(), sum_lane(Clock())
    for command in (opening(client, 1), opening(client, 2)):
        lane.post(command)
    lane.admit(wait=False)
    client.take()
    step = steps(client, [(1, 0, [1]), (2, 0, [1]), (1, 1, [1])])
    step.acked.setflags(write=False)
    lane.state.kept.count.setflags(write=False)  # the first two cannot be reserved for
    lane.post(Step(step))
    with running(lane):
        handled(lane)
        assert lane.broken
        told = unavailable(client.take())
        assert sorted(position for _, position in told if position is not None) == [0, 0, 1]


def test_frames_whose_admission_together_breaks_the_lane_are_answered_once() -> None:
    lane, clients = sum_lane(Clock()), [Heard(), Heard()]
    for key, client in enumerate(clients):
        lane.post(opening(client, key))
    lane.admit(wait=False)
    lane.state.sequences.used.setflags(write=False)
    for key, client in enumerate(clients):
        client.take()
        lane.post(Step(steps(client, [(key, 0, [1])], acked=[NEVER_AGAIN])))
    with running(lane):
        handled(lane)
        assert lane.broken
    assert [unavailable(client.take()) for client in clients] == [[(0, 0), (0, None)], [(1, 0), (1, None)]]


def test_a_broken_lane_can_be_stopped() -> None:
    lane = sum_lane(Clock(), engine=LyingEngine(LIMITS.slots), limits=LIMITS)
    client = Heard()
    with running(lane):
        handled(lane, opening(client), row(client, 1, 0))
        handled(lane)
    assert lane.broken  # and `stop` returned


def test_rows_that_cannot_be_put_together_fail_alone() -> None:
    client, lane = Heard(), sum_lane(Clock(), limits=LIMITS)
    good, bad = steps(client, [(1, 0, [1])]), steps(client, [(2, 0, [1])])
    object.__setattr__(bad, "values", (np.zeros((1, 5), np.float32),))
    for command in (opening(client, 1), opening(client, 2), Step(good), Step(bad)):
        lane.post(command)
    lane.admit(wait=False)
    client.take()
    free = len(lane.state.slots)
    lane.tick()
    assert [type(a.error) for a in client.take() if isinstance(a, Failed)] == [ModelFailed, ModelFailed]
    assert len(lane.state.slots) == free and not lane.state.sequences.pending.any()
    lane.post(Step(good))
    lane.post(Close(client, (1,)))
    lane.admit(wait=False)
    lane.tick()
    assert [type(a) for a in client.take()] == [Stepped, Closed]
