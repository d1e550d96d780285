"""Any arrivals, turns and withdrawals: batches keep their bounds, the oldest goes, and every row leaves once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.server.cost import Cost
from headrace.server.limits import Limits
from headrace.server.similar import PATIENCE, REACH, Similar, suits
from headrace.server.steps import Steps
from headrace.spec import Chunk

from .fakes import STATELESS_SUM, SUM, Heard, steps

#: Padding is dear, so that unlike rows go apart.
COST = Cost(call=100, cell=0.5)
NEVER = float("inf")
MOST_ROWS = 6
Row = tuple[int, int]  # key, length


def frame(rows: list[Row], sink: Heard | None = None, deadline: float = NEVER) -> Steps:
    return steps(sink or Heard(), [(key, 0, [key] * length) for key, length in rows], deadline=deadline)


def lengths(pieces: list[Steps]) -> list[int]:
    return [length for piece in pieces for length in piece.lengths.tolist()]


def of(given: list[int], *, rows: int = 8, tokens: int = 100, cost: Cost = COST) -> Similar:
    """One frame of these lengths waits, the first the oldest."""
    scheduler = Similar(rows, tokens, cost)
    scheduler.add(frame(list(enumerate(given))))
    return scheduler


def test_a_long_row_goes_alone_and_the_short_ones_in_the_very_next_batch() -> None:
    first = of([512, 3, 16, 9], cost=Cost())
    assert [lengths(first.next(0.0).run) for _ in range(2)] == [[512], [3, 16, 9]]
    last = of([3, 16, 9, 512, 12], cost=Cost(), tokens=4096)
    assert [lengths(last.next(0.0).run) for _ in range(2)] == [[3, 16, 9, 12], [512]]


def test_the_oldest_goes_with_those_most_like_it() -> None:
    scheduler = of([20, 4, 30, 19, 5, 21, 4])
    assert [lengths(scheduler.next(0.0).run) for _ in range(3)] == [[20, 19, 21], [4, 5, 4], [30]]
    assert not scheduler


def test_of_equal_rows_the_older_go_first() -> None:
    scheduler = of([7] * 20)
    keys = [piece.keys.tolist() for _ in range(3) for piece in scheduler.next(0.0).run]
    assert keys == [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    shorter = of([9, 8, 8, 8, 8, 8, 8, 8, 8, 8], cost=Cost(100, 1e-3))
    assert [piece.keys.tolist() for piece in shorter.next(0.0).run] == [list(range(8))]


def test_a_row_longer_than_any_batch_goes_alone() -> None:
    scheduler = of([101, 1, 1], tokens=100)
    assert [lengths(scheduler.next(0.0).run) for _ in range(2)] == [[101], [1, 1]]


def test_a_batch_has_no_more_time_steps_than_it_may() -> None:
    scheduler = of([20, 20, 20], tokens=40)
    assert [lengths(scheduler.next(0.0).run) for _ in range(2)] == [[20, 20], [20]]
    mixed = of([20, 1, 19, 2, 20, 60], tokens=40)
    assert [lengths(mixed.next(0.0).run) for _ in range(4)] == [[20, 20], [1, 2], [19], [60]]


def test_who_waits_for_older_rows_is_not_passed_over() -> None:
    """Each row goes alone, in order, though the last of them see more than PATIENCE batches go by."""
    given = [10 * n for n in range(1, PATIENCE + 9)]
    scheduler = of(given, rows=64, tokens=4000, cost=Cost(0.01, 10.0))
    assert [lengths(scheduler.next(0.0).run) for _ in given] == [[length] for length in given]


def test_what_a_batch_holds_already_counts() -> None:
    scheduler = of([5] * 9, rows=8, tokens=40)
    assert lengths(scheduler.next(0.0, rows=6, tokens=0).run) == [5, 5]
    assert lengths(scheduler.next(0.0, rows=1, tokens=25).run) == [5, 5, 5]
    assert scheduler.next(0.0, rows=8, tokens=0).run == []


def test_a_row_that_many_batches_have_passed_over_goes_with_the_next() -> None:
    """Each of the old rows finds its like among the young, which the row between them is not."""
    old = [4 * n for n in range(1, PATIENCE + 2)]
    scheduler = of([*old, 1000, *(length for length in old for _ in range(2))], tokens=4000, cost=Cost(0.01, 10.0))
    batches = []
    while scheduler:
        batches.append(lengths(scheduler.next(0.0).run))
    assert batches[:PATIENCE] == [[length] * 3 for length in old[:PATIENCE]]
    assert 1000 in batches[PATIENCE]


def test_a_row_goes_if_its_deadline_would_pass_before_the_batch_behind_this_one_ends() -> None:
    for deadline, together in ((13.9, True), (14.1, False)):
        scheduler = of([20] * 18)
        scheduler.next(10.0)
        scheduler.next(11.0)  # so a batch takes one second
        scheduler.add(frame([(99, 5)], deadline=deadline))
        assert (5 in lengths(scheduler.next(12.0).run)) is together


def test_an_idle_time_is_not_taken_for_that_of_a_batch() -> None:
    scheduler = of([20])
    scheduler.next(10.0)
    scheduler.add(frame([(0, 20), (1, 20)]))
    scheduler.add(frame([(2, 5)], deadline=1010.0))
    assert lengths(scheduler.next(1000.0).run) == [20, 20]


def test_a_deadline_counts_however_far_behind_in_the_queue() -> None:
    scheduler = of([20] * 8 * REACH + [1], rows=8)
    assert lengths(scheduler.next(0.0).run) == [20] * 5
    scheduler.add(frame([(99, 21)], deadline=2.5))
    assert lengths(scheduler.next(1.0).run) == [20] * 3 + [21]


def test_other_limits_and_costs_hold_from_the_next_batch_on() -> None:
    scheduler = of([9, 2, 9, 2])
    scheduler.limit(rows=8, tokens=100, cost=Cost(call=1e6))
    assert lengths(scheduler.next(0.0).run) == [9, 2, 9, 2]
    scheduler.add(frame([(0, 9)] * 4))
    scheduler.limit(rows=3, tokens=20)
    assert (scheduler.rows, scheduler.tokens, scheduler.cost.call) == (3, 20, 1e6)
    assert lengths(scheduler.next(0.0).run) == [9, 9]


def test_nothing_is_parked_for_no_row_has_a_sequence() -> None:
    scheduler = of([3])
    with pytest.raises(ValueError, match="without a sequence"):
        scheduler.park(frame([(0, 1)]))
    scheduler.settle(np.zeros(1, np.int64))
    assert not scheduler.withdraw(0) and not scheduler.withdraw_from(0, 0) and not scheduler.withdraw_parked(0)
    assert scheduler.parked_of(Heard()) == [] and scheduler.ready_rows == 1


def test_it_serves_models_whose_rows_may_go_in_any_company() -> None:
    equal = STATELESS_SUM.model_copy(update={"chunk": Chunk(longest=4, equal_lengths=True)})
    assert suits(STATELESS_SUM) and not suits(SUM) and not suits(equal)
    scheduler = Similar.of(Limits(rows=3, tokens=5, cost=COST))
    assert (scheduler.rows, scheduler.tokens, scheduler.cost) == (3, 5, COST)


@dataclass
class Waiting:
    key: int
    length: int
    deadline: float
    sink: Heard
    passed: int = field(default=0)


class Queue(RuleBasedStateMachine):
    """Two callers send frames and leave; batches are taken as time goes on. Mutable: `waiting`, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.tokens, self.now, self.keys = 4, 40, 0.0, 0
        self.scheduler = Similar(self.rows, self.tokens, COST)
        self.sinks = [Heard(), Heard()]
        self.waiting: list[Waiting] = []

    @rule(who=st.integers(0, 1), rows=st.lists(st.integers(1, 50), min_size=1, max_size=9), wait=st.integers(0, 6))
    def send(self, who: int, rows: list[int], wait: int) -> None:
        """Rows of these lengths; their deadline is after so many time units, 0 for none."""
        deadline = self.now + wait if wait else NEVER
        came = [Waiting(self.keys + n, length, deadline, self.sinks[who]) for n, length in enumerate(rows)]
        self.keys += len(rows)
        self.waiting += came
        self.scheduler.add(frame([(row.key, row.length) for row in came], self.sinks[who], deadline))

    @rule(turns=st.integers(1, 6), took=st.sampled_from([0.0, 0.5, 3.0]))
    def run(self, turns: int, took: float) -> None:
        for _ in range(turns):
            self.turn()
            self.now += took

    def turn(self) -> None:
        late = {row.key for row in self.waiting if row.deadline < self.now}
        in_time = [row for row in self.waiting if row.key not in late]
        turn = self.scheduler.next(self.now)
        assert self.leave(turn.late) == late
        run = self.leave(turn.run)
        assert bool(run) == bool(in_time) and (not run or in_time[0].key in run)  # the oldest always goes
        sizes = [row.length for row in in_time if row.key in run]
        assert len(sizes) <= self.rows and (sum(sizes) <= self.tokens or len(sizes) == 1)
        for row in self.waiting:
            row.passed += row.key < max(run)
            assert row.passed <= PATIENCE + MOST_ROWS * REACH

    @rule(who=st.integers(0, 1), some=st.booleans())
    def withdraw(self, who: int, some: bool) -> None:
        mine = [row.key for row in self.waiting if row.sink is self.sinks[who]]
        asked = mine[::2]
        gone = self.scheduler.withdraw_of(self.sinks[who], frozenset([*asked, 10**6]) if some else None)
        assert all(piece.sink is self.sinks[who] for piece in gone)
        assert self.leave(gone) == set(asked if some else mine)

    @rule(rows=st.integers(1, MOST_ROWS), tokens=st.integers(1, 60))
    def limit(self, rows: int, tokens: int) -> None:
        self.rows, self.tokens = rows, tokens
        self.scheduler.limit(rows, tokens)

    def leave(self, pieces: list[Steps]) -> set[int]:
        """These rows are there no more; they are whole, and each came with its own values."""
        keys = [key for piece in pieces for key in piece.keys.tolist()]
        expected = {row.key: row.length for row in self.waiting}
        assert len(set(keys)) == len(keys) and set(keys) <= expected.keys()
        for piece in pieces:
            assert piece.lengths.tolist() == [expected[key] for key in piece.keys.tolist()]
            assert piece.values[0][:, 0].tolist() == np.repeat(piece.keys, piece.lengths).tolist()
        self.waiting = [row for row in self.waiting if row.key not in keys]
        return set(keys)

    @invariant()
    def all_that_has_not_left_waits(self) -> None:
        assert self.scheduler.ready_rows == len(self.waiting)

    def teardown(self) -> None:
        """What still waits leaves; nothing is left."""
        half = len(self.waiting) // 2
        while len(self.waiting) > half:
            self.turn()
        assert self.leave(self.scheduler.withdraw_all()) is not None
        assert not self.waiting and not self.scheduler


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
