"""The loop, driven by hand: what a client may rely on, whatever fails in between."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from headrace.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    HeadraceError,
    InvalidInput,
    ModelFailed,
    Overloaded,
    TakenOver,
    Unavailable,
    UnknownSequence,
    WrongPosition,
)
from headrace.server.commands import Barrier, Cancel, Close, Command, Leave, Mode, NamedSteps, Open, Step
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.steps import NEVER_AGAIN, NEXT, Closed, Failed, Opened, Stepped, Steps

from .fakes import STATELESS_SUM, Clock, FlakyJournal, Heard, SumEngine, admit, named_row, steps, sum_lane


@dataclass
class Bench:
    """A lane, its clock, and one client."""

    lane: Lane
    clock: Clock
    client: Heard = field(default_factory=Heard)

    def do(self, *commands: Command) -> None:
        """Posts, admits, and runs until nothing is ready."""
        self.admit(*commands)
        while self.lane.state.scheduler:
            self.lane.tick()

    def admit(self, *commands: Command) -> None:
        admit(self.lane, *commands)

    def open(
        self, key: int = 1, name: str = "a", mode: Mode = Mode.FRESH, incarnation: int = 7, sink: Heard | None = None
    ) -> Opened:
        sink = sink or self.client
        self.do(Open(sink, key, ("", name), mode, incarnation))
        answer = sink.take()[-1]
        assert isinstance(answer, Opened), answer
        return answer

    def step(self, *rows: tuple[int, int, list[float]], **options: object) -> list[object]:
        self.do(Step(steps(self.client, rows, now=self.clock.now, **options)))  # type: ignore[arg-type]
        return list(self.client.take())

    def value(self, *rows: tuple[int, int, list[float]], **options: object) -> list[float]:
        """The running sums of steps that must succeed."""
        answers = self.step(*rows, **options)
        assert all(isinstance(a, Stepped) for a in answers), answers
        return [y for a in answers if isinstance(a, Stepped) for y in a.outputs[0][:, 0].tolist()]


def error_of(answers: list[object]) -> HeadraceError:
    (answer,) = answers
    assert isinstance(answer, Failed), answer
    return answer.error


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bench(clock: Clock) -> Bench:
    return Bench(sum_lane(clock), clock)


def test_state_carries_over_steps(bench: Bench) -> None:
    opened = bench.open()
    assert (opened.position, opened.resumed, opened.version) == (0, False, "1")
    assert bench.value((1, 0, [1, 2])) == [1, 3]
    assert bench.value((1, 2, [4])) == [7]


def test_rows_of_many_sequences_share_a_batch_and_stay_apart(bench: Bench) -> None:
    for key in (1, 2, 3):
        bench.open(key, f"s{key}")
    assert bench.value((1, 0, [1]), (2, 0, [10, 10]), (3, 0, [100])) == [1, 10, 20, 100]
    assert bench.value((3, 1, [1]), (1, 1, [1])) == [101, 2]


def test_several_steps_of_one_sequence_in_one_frame_are_applied_in_order(bench: Bench) -> None:
    bench.open()
    assert bench.value((1, 0, [1]), (1, 1, [2]), (1, 2, [3])) == [1, 3, 6]


def test_a_repeated_step_is_answered_from_memory_and_applied_once(bench: Bench) -> None:
    bench.open()
    first = bench.value((1, 0, [1, 2]))
    assert bench.value((1, 0, [1, 2])) == first
    assert bench.value((1, 2, [1])) == [4]


def test_an_acknowledged_reply_is_forgotten(bench: Bench) -> None:
    bench.open()
    bench.value((1, 0, [1]))
    bench.value((1, 1, [1]))  # acked defaults to its own position
    error = error_of(bench.step((1, 0, [1])))
    assert isinstance(error, WrongPosition) and error.expected_position == 2


@pytest.mark.parametrize(("position", "length"), [(0, 1), (1, 1), (5, 1), (0, 3)])
def test_other_bounds_or_positions_are_refused_with_the_expected_one(bench: Bench, position: int, length: int) -> None:
    bench.open()
    bench.value((1, 0, [1, 1]))
    error = error_of(bench.step((1, position, [1.0] * length)))
    assert isinstance(error, WrongPosition) and error.expected_position == 2
    assert bench.value((1, 2, [1])) == [3]


def test_a_failing_journal_changes_nothing_and_the_retry_succeeds(clock: Clock) -> None:
    journal = FlakyJournal()
    bench = Bench(sum_lane(clock, journal=journal), clock)
    bench.open()
    bench.open(2, "b")
    before = bench.value((1, 0, [1]))
    journal.failures = 1
    free = len(bench.lane.state.slots)
    answers = bench.step((1, 1, [2]), (2, 0, [5]), acked=[0, 0])
    assert [type(a.error) for a in answers if isinstance(a, Failed)] == [Unavailable, Unavailable]
    assert bench.lane.state.sequences.position[:2].tolist() == [1, 0]
    assert len(bench.lane.state.slots) == free
    assert bench.value((1, 0, [1])) == before  # the reply that was kept is kept still
    assert bench.value((1, 1, [2]), (2, 0, [5])) == [3, 5]
    assert len(journal.records) == 2


def test_successors_of_a_failed_step_fail_by_position(clock: Clock) -> None:
    bench = Bench(sum_lane(clock, journal=FlakyJournal(failures=1)), clock)
    bench.open()
    first, second, third = bench.step((1, 0, [1]), (1, 1, [2]), (1, 2, [3]))
    assert isinstance(first, Failed) and isinstance(first.error, Unavailable)
    for answer in (second, third):
        assert isinstance(answer, Failed) and isinstance(answer.error, WrongPosition)
        assert answer.error.expected_position == 0
    assert bench.value((1, 0, [1]), (1, 1, [2])) == [1, 3]


def test_a_row_that_the_runtime_refuses_fails_alone(clock: Clock) -> None:
    limits = Limits(rows=4, tokens=64, sequences=8)
    engine = SumEngine(limits.slots, refuse=lambda row: bool((row == 13).any()))
    bench = Bench(sum_lane(clock, engine=engine, limits=limits), clock)
    for key in range(4):
        bench.open(key, f"s{key}")
    answers = bench.step((0, 0, [1]), (1, 0, [2, 2]), (2, 0, [13]), (3, 0, [4]))
    failed = [a for a in answers if isinstance(a, Failed)]
    (stepped,) = [a for a in answers if isinstance(a, Stepped)]
    assert [(a.key, type(a.error)) for a in failed] == [(2, ModelFailed)]
    assert stepped.keys.tolist() == [0, 1, 3] and stepped.outputs[0][:, 0].tolist() == [1, 2, 4, 4]
    assert stepped.outputs[1][:, 0].tolist() == [1, 4, 4]
    assert bench.value((0, 1, [1]), (2, 0, [1])) == [2, 1]


def test_a_state_that_is_not_finite_is_never_committed(bench: Bench) -> None:
    bench.open()
    huge = float(np.finfo(np.float32).max)
    bench.value((1, 0, [huge]))
    assert isinstance(error_of(bench.step((1, 1, [huge]))), ModelFailed)
    assert bench.value((1, 1, [-huge])) == [0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_values_fail_their_row_alone(bench: Bench, bad: float) -> None:
    bench.open(1, "a")
    bench.open(2, "b")
    answers = bench.step((1, 0, [1, bad]), (2, 0, [5]))
    assert {type(a) for a in answers} == {Failed, Stepped}
    assert isinstance(next(a.error for a in answers if isinstance(a, Failed)), InvalidInput)
    assert bench.value((1, 0, [1])) == [1]


@pytest.mark.parametrize("length", [0, 17])
def test_lengths_outside_the_models_bounds_are_refused(bench: Bench, length: int) -> None:
    bench.open()
    assert isinstance(error_of(bench.step((1, 0, [1.0] * length))), InvalidInput)
    assert bench.value((1, 0, [1])) == [1]


def test_a_key_that_was_never_opened_or_is_closed(bench: Bench) -> None:
    assert isinstance(error_of(bench.step((3, 0, [1]))), UnknownSequence)
    bench.open()
    bench.do(Close(bench.client, (1,)))
    assert bench.client.take() == [Closed((1,))]
    error = error_of(bench.step((1, 0, [1])))
    assert isinstance(error, UnknownSequence) and "closed" in str(error)


def test_close_waits_for_the_steps_before_it_and_gives_all_back(bench: Bench) -> None:
    slots, total = len(bench.lane.state.slots), bench.lane.state.kept.total
    bench.open()
    bench.do(Step(steps(bench.client, [(1, 0, [1]), (1, 1, [2])])), Close(bench.client, (1,)))
    kinds = [type(a) for a in bench.client.take()]
    assert kinds == [Stepped, Stepped, Closed]
    assert len(bench.lane.state.slots) == slots and bench.lane.state.kept.total == total
    assert len(bench.lane.state.sequences) == 0


def test_idle_sequences_expire_and_their_owner_is_told(bench: Bench, clock: Clock) -> None:
    bench.open()
    bench.value((1, 0, [1]))
    clock.now += 59
    bench.do()
    assert not bench.client.take()
    clock.now += 2
    bench.do()
    assert isinstance(error_of(list(bench.client.take())), UnknownSequence)
    error = error_of(bench.step((1, 1, [1])))
    assert isinstance(error, UnknownSequence) and "expired" in str(error)
    assert bench.open().position == 0


def test_a_sequence_with_queued_rows_never_expires(bench: Bench, clock: Clock) -> None:
    bench.open()
    bench.admit(Step(steps(bench.client, [(1, 0, [1])])))
    clock.now += 1000
    bench.do()
    assert isinstance(bench.client.take()[-1], Stepped)


def test_a_fresh_open_of_a_live_sequence(bench: Bench) -> None:
    bench.open(incarnation=7)
    bench.value((1, 0, [1]))
    again = bench.open(incarnation=7)  # idempotent
    assert (again.position, again.resumed) == (1, True)
    other = Heard()
    bench.do(Open(other, 1, ("", "a"), Mode.FRESH, 8))
    assert isinstance(error_of(list(other.take())), AlreadyExists)
    assert bench.value((1, 1, [1])) == [2]
    bench.open(1, "a", Mode.REPLACE, 8, sink=other)
    assert isinstance(error_of(list(bench.client.take())), TakenOver)
    bench.do(Step(steps(other, [(1, 0, [5])])))
    (stepped,) = other.take()
    assert isinstance(stepped, Stepped) and stepped.outputs[0][0, 0] == 5


def test_tenants_do_not_see_each_others_sequences(bench: Bench) -> None:
    bench.open(1, "a")
    bench.do(Open(bench.client, 2, ("other", "a"), Mode.RESUME, 7))
    assert isinstance(error_of(list(bench.client.take())), UnknownSequence)


def test_resume_takes_over_and_cancels_what_was_queued(bench: Bench) -> None:
    bench.open()
    bench.value((1, 0, [1]))
    bench.admit(Step(steps(bench.client, [(1, 1, [2]), (1, 2, [3])], acked=[0, 0])))
    other = Heard()
    opened = bench.open(9, "a", Mode.RESUME, 1234, sink=other)
    assert (opened.position, opened.resumed) == (1, True)
    told = bench.client.take()
    assert [(type(a), a.position) for a in told if isinstance(a, Failed) and isinstance(a.error, TakenOver)] == [
        (Failed, 1),
        (Failed, 2),
        (Failed, None),
    ]
    assert isinstance(error_of(bench.step((1, 1, [2]))), TakenOver)
    bench.do(Step(steps(other, [(9, 0, [1])], acked=[0])))  # the reply that the old owner may have lost
    bench.do(Step(steps(other, [(9, 1, [2])])))
    assert [a.outputs[0][0, 0] for a in other.take() if isinstance(a, Stepped)] == [1, 3]


def test_who_lost_its_sequence_while_away_does_not_take_it_back_by_rejoining(bench: Bench) -> None:
    bench.open(incarnation=7)
    bench.value((1, 0, [1]))
    bench.do(Leave(bench.client))
    assert bench.open(1, "a", Mode.REJOIN, 7).position == 1  # nobody took it meanwhile
    bench.do(Leave(bench.client))
    other = Heard()
    bench.open(9, "a", Mode.RESUME, 1234, sink=other)
    bench.do(Open(bench.client, 1, ("", "a"), Mode.REJOIN, 7))
    assert isinstance(error_of(list(bench.client.take())), TakenOver)
    assert not other.take()  # the new owner is not disturbed, and may rejoin itself
    assert bench.open(9, "a", Mode.REJOIN, 1234, sink=other).position == 1
    assert bench.open(1, "a", Mode.RESUME, 8).position == 1  # said expressly, it is taken back


def test_rejoining_never_begins_a_sequence(bench: Bench) -> None:
    bench.do(Open(bench.client, 1, ("", "a"), Mode.REJOIN, 7))
    assert isinstance(error_of(list(bench.client.take())), UnknownSequence)


def test_a_lost_connection_drops_its_queue_and_can_be_resumed(bench: Bench) -> None:
    bench.open()
    bench.value((1, 0, [1]))
    bench.do(Step(steps(bench.client, [(1, 1, [2])])), Leave(bench.client))
    other = Heard()
    opened = bench.open(1, "a", Mode.RESUME, 7, sink=other)
    assert opened.position in (1, 2)
    assert bench.lane.state.sequences.pending[0] == 0


def test_leave_before_the_run_drops_parked_and_ready_rows(bench: Bench) -> None:
    bench.open()
    bench.admit(Step(steps(bench.client, [(1, 0, [1]), (1, 1, [2])])), Leave(bench.client))
    assert not bench.lane.state.scheduler
    assert bench.open(1, "a", Mode.RESUME, 7, sink=Heard()).position == 0


def test_a_deadline_that_has_passed_drops_the_step_before_it_runs(bench: Bench, clock: Clock) -> None:
    bench.open()
    bench.open(2, "b")
    late = steps(bench.client, [(1, 0, [1])], deadline=clock.now + 1)
    bench.admit(Step(late), Step(steps(bench.client, [(2, 0, [2]), (1, 1, [1])])))
    clock.now += 2
    bench.do()
    errors = {a.position: type(a.error) for a in bench.client.answers if isinstance(a, Failed)}
    assert errors == {0: DeadlineExceeded, 1: WrongPosition}
    assert any(isinstance(a, Stepped) and a.keys.tolist() == [2] for a in bench.client.take())
    assert bench.value((1, 0, [1])) == [1]


def test_cancel_wins_until_dispatch(bench: Bench) -> None:
    bench.open()
    cancel = Cancel(bench.client, np.array([1], np.uint32), np.array([1], np.int64))
    bench.do(Step(steps(bench.client, [(1, 0, [1]), (1, 1, [2]), (1, 2, [3])])), cancel)
    answers = bench.client.take()
    assert {a.position: type(a.error) for a in answers if isinstance(a, Failed)} == {1: Cancelled, 2: WrongPosition}
    assert [a.positions.tolist() for a in answers if isinstance(a, Stepped)] == [[0]]
    assert bench.value((1, 1, [5])) == [6]
    bench.do(cancel)  # too late: the step was applied and answered
    assert not bench.client.take()


def test_unacknowledged_replies_are_bounded_and_never_dropped(bench: Bench) -> None:
    bench.open()
    for position in range(8):
        bench.value((1, position, [1]), acked=[0])
    error = error_of(bench.step((1, 8, [1]), acked=[0]))
    assert isinstance(error, Overloaded) and error.retry_after
    assert bench.value((1, 3, [1]), acked=[0]) == [4]
    assert bench.value((1, 8, [1]), acked=[8]) == [9]


def test_the_number_of_sequences_is_bounded(clock: Clock) -> None:
    bench = Bench(sum_lane(clock, limits=Limits(rows=4, sequences=2)), clock)
    bench.open(1, "a")
    bench.open(2, "b")
    bench.do(Open(bench.client, 3, ("", "c"), Mode.FRESH, 1))
    error = error_of(list(bench.client.take()))
    assert isinstance(error, Overloaded) and error.retry_after
    bench.do(Close(bench.client, (1,)))
    bench.client.take()
    bench.open(3, "c")


def test_a_key_in_use_or_out_of_range_is_refused(bench: Bench) -> None:
    bench.open(1, "a")
    bench.do(Open(bench.client, 1, ("", "b"), Mode.FRESH, 1))
    assert isinstance(error_of(list(bench.client.take())), AlreadyExists)
    bench.do(Open(bench.client, 1 << 21, ("", "b"), Mode.FRESH, 1))
    assert isinstance(error_of(list(bench.client.take())), InvalidInput)
    assert len(bench.lane.state.sequences) == 1


def named(bench: Bench, value: float, *, start: bool = False, end: bool = False, position: int = NEXT) -> NamedSteps:
    acked = [NEVER_AGAIN if position == NEXT else position]
    row: Steps = steps(bench.client, [(0, position, [value])], acked=acked)
    return named_row(row, "n", start=start, end=end)


def sums(bench: Bench) -> list[float]:
    return [float(a.outputs[0][0, 0]) for a in bench.client.take() if isinstance(a, Stepped)]


def test_named_steps_start_go_on_and_end(bench: Bench) -> None:
    bench.do(named(bench, 1))
    assert isinstance(error_of(list(bench.client.take())), UnknownSequence)
    bench.do(named(bench, 1, start=True), named(bench, 2), named(bench, 3, end=True))
    assert sums(bench) == [1, 3, 6]
    assert len(bench.lane.state.sequences) == 0 and bench.lane.state.kept.total == 0


def test_a_named_start_behind_a_queued_end_restarts(bench: Bench) -> None:
    bench.do(named(bench, 1, start=True, end=True), named(bench, 5, start=True), named(bench, 1))
    assert sums(bench) == [1, 5, 6]
    assert len(bench.lane.state.sequences) == 1
    bench.do(named(bench, 9, start=True))
    assert sums(bench) == [9]
    assert len(bench.lane.state.sequences) == 1


def test_a_named_step_with_position_is_exactly_once(bench: Bench) -> None:
    bench.do(named(bench, 1, start=True), named(bench, 2, position=1))
    bench.do(named(bench, 2, position=1))
    assert sums(bench) == [1, 3, 3]


def test_a_named_end_that_is_refused_does_not_close(bench: Bench) -> None:
    bench.do(named(bench, 1, start=True), named(bench, 2, position=5, end=True))
    failed, stepped = bench.client.take()
    assert isinstance(stepped, Stepped) and isinstance(failed, Failed)
    assert isinstance(failed.error, WrongPosition)
    bench.do(named(bench, 2, position=1, end=True))
    assert sums(bench) == [3] and len(bench.lane.state.sequences) == 0


def test_stateless_rows_need_no_sequence(clock: Clock) -> None:
    bench = Bench(sum_lane(clock, spec=STATELESS_SUM), clock)
    bench.open(1, "")
    bench.open(2, "")
    answers = bench.step((1, 77, [1, 2]), (1, 78, [np.nan]), (1, 79, [3]))
    assert {a.position for a in answers if isinstance(a, Failed)} == {78}
    (stepped,) = [a for a in answers if isinstance(a, Stepped)]
    assert stepped.positions.tolist() == [77, 79] and stepped.outputs[0][:, 0].tolist() == [1, 3, 3]


def test_a_barrier_comes_after_what_was_posted_before(bench: Bench) -> None:
    order: list[str] = []
    bench.admit(
        Open(bench.client, 1, ("", "a"), Mode.FRESH, 1), Barrier(lambda: order.append(repr(bench.client.answers)))
    )
    assert "Opened" in order[0]


def test_a_fault_of_ours_answers_the_rows_and_the_loop_goes_on(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(sum_lane(clock), clock)
    bench.open()
    broken = steps(bench.client, [(1, 0, [1])])
    object.__setattr__(broken, "values", (None,))
    bench.do(Step(broken))
    assert isinstance(error_of(list(bench.client.take())), ModelFailed)
    assert bench.value((1, 0, [1])) == [1]
    assert "steps could not be checked" in caplog.text


def test_slots_are_neither_lost_nor_shared(bench: Bench) -> None:
    """After any of the above, each slot is free or belongs to exactly one sequence."""
    for key in range(6):
        bench.open(key, f"s{key}")
    for position in range(3):
        bench.step(*[(key, position, [1.0]) for key in range(6)])
    bench.do(Close(bench.client, (0, 1)))
    state = bench.lane.state
    live = np.array(list(state.sequences.names.values()))
    held = state.sequences.slot[live].tolist()
    free = state.slots.take(len(state.slots)).tolist()
    assert sorted(held + free) == list(range(Limits(rows=4, sequences=8).slots))
