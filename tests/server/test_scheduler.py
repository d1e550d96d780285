"""Any order of arrivals, turns and settlings: the batches keep their bounds, and every row leaves exactly once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.server.scheduler import MOST_PROMPTS, Scheduler
from headrace.server.steps import Steps

from .fakes import Heard, steps

ROWS, TOKENS = 3, 8
LATE, NOW, IN_TIME = 1.0, 2.0, 3.0

LENGTH = st.integers(1, 12)  # some rows alone are over TOKENS
FRAME = st.lists(st.tuples(st.integers(0, 4), LENGTH, st.sampled_from([IN_TIME, IN_TIME, LATE])), max_size=6)
Row = tuple[int, int]  # sequence, position


class Books:
    """Admits as a lane does: the first row of an idle sequence is added, all others are parked. Mutable throughout."""

    def __init__(self, *, equal_lengths: bool = False, apart: bool = False) -> None:
        self.scheduler = Scheduler(ROWS, TOKENS, sequences=5, equal_lengths=equal_lengths, apart=apart)
        self.apart = apart
        self.sink, self.equal_lengths = Heard(), equal_lengths
        self.sent: dict[int, int] = dict.fromkeys(range(5), 0)
        self.pending: dict[int, int] = dict.fromkeys(range(5), 0)
        self.left: list[Row] = []

    def admit(self, frame: list[tuple[int, int, float]]) -> None:
        ready = []
        for number, length, deadline in frame:
            row = (number, self.sent[number], length, deadline)
            if self.pending[number]:
                self.scheduler.park(piece(self.sink, [row]))
            else:
                ready.append(row)
            self.sent[number] += 1
            self.pending[number] += 1
        if ready:
            self.scheduler.add(piece(self.sink, ready))

    def turn(self) -> None:
        turn = self.scheduler.next(NOW)
        numbers = [number for part in turn.run for number in part.numbers.tolist()]
        lengths = [length for part in turn.run for length in part.lengths.tolist()]
        counted = [length for length in lengths if length > 1 or not self.apart]
        assert len(set(numbers)) == len(numbers) <= ROWS
        most = TOKENS * (MOST_PROMPTS if self.apart else 1)
        assert sum(counted) <= most or len(counted) == 1
        assert not self.equal_lengths or len({length for part in turn.run for length in part.lengths.tolist()}) <= 1
        assert all(deadline == IN_TIME for part in turn.run for deadline in part.deadlines.tolist())
        assert all(deadline == LATE for part in turn.late for deadline in part.deadlines.tolist())
        for part in (*turn.run, *turn.late):
            self.settle(part)

    def settle(self, part: Steps) -> None:
        values_of_rows = np.split(part.values[0][:, 0], np.cumsum(part.lengths)[:-1])
        for number, position, values in zip(
            part.numbers.tolist(), part.positions.tolist(), values_of_rows, strict=True
        ):
            assert (values == value(number, position)).all()  # a row keeps its own values through every cut
            self.left.append((number, position))
            self.pending[number] -= 1
        self.scheduler.settle(part.numbers)


def piece(sink: Heard, rows: list[tuple[int, int, int, float]]) -> Steps:
    """Of (sequence, position, length, deadline); positions count rows here."""
    made = steps(sink, [(n, position, [value(n, position)] * length) for n, position, length, _ in rows])
    numbers = np.array([n for n, *_ in rows], np.int32)
    made.deadlines[:] = [deadline for *_, deadline in rows]
    return made.numbered(numbers)


def value(number: int, position: int) -> float:
    return float(100 * number + position)


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAME, max_size=12), st.sampled_from([{}, {"equal_lengths": True}, {"apart": True}]))
def test_every_row_leaves_once_in_order_within_the_bounds(
    frames: list[list[tuple[int, int, float]]], rules: dict[str, bool]
) -> None:
    books = Books(**rules)
    for frame in frames:
        books.admit(frame)
        books.turn()
    while books.scheduler:
        before = len(books.left)
        books.turn()
        assert len(books.left) > before  # no turn is wasted while rows wait
    for number, sent in books.sent.items():
        assert [position for n, position in books.left if n == number] == list(range(sent))
    assert books.scheduler.ready_rows == 0


def test_a_batch_is_cut_in_order_of_arrival() -> None:
    books = Books()
    books.admit([(0, 4, IN_TIME), (1, 4, IN_TIME), (2, 1, IN_TIME)])
    books.turn()
    assert books.left == [(0, 0), (1, 0)]  # 8 time steps; the third row waits though it is short
    books.turn()
    assert books.left[2:] == [(2, 0)]


def test_apart_no_row_of_one_time_step_waits_behind_longer_ones() -> None:
    books = Books(apart=True)
    books.admit([(0, 6, IN_TIME), (1, 6, IN_TIME), (2, 1, IN_TIME)])
    books.admit([(3, 7, IN_TIME), (4, 1, IN_TIME)])
    books.turn()
    assert books.left == [(2, 0), (0, 0), (4, 0)]


def test_other_limits_hold_from_the_next_batch_on_for_rows_that_wait_too() -> None:
    books = Books()
    books.admit([(number, 1, IN_TIME) for number in range(5)])
    books.scheduler.limit(rows=2, tokens=1)
    books.turn()
    assert books.left == [(0, 0)]
    books.scheduler.limit(rows=2, tokens=TOKENS)
    books.turn()
    assert books.left == [(0, 0), (1, 0), (2, 0)]


def test_where_lengths_must_be_equal_the_oldest_row_says_which() -> None:
    books = Books(equal_lengths=True)
    books.admit([(0, 2, IN_TIME), (1, 1, IN_TIME), (2, 2, IN_TIME)])
    books.admit([(3, 1, IN_TIME), (4, 2, IN_TIME)])
    books.turn()
    assert books.left == [(0, 0), (2, 0), (4, 0)]
    assert [int(row.positions[0]) for row in books.scheduler.withdraw(3)] == [0]
    books.turn()
    assert books.left[3:] == [(1, 0)] and not books.scheduler


def test_withdrawn_rows_never_run() -> None:
    books = Books()
    books.admit([(0, 1, IN_TIME), (1, 1, IN_TIME), (0, 1, IN_TIME)])
    assert [int(row.positions[0]) for row in books.scheduler.withdraw(0)] == [0, 1]
    assert not books.scheduler.withdraw(0)
    books.turn()
    assert books.left == [(1, 0)]
    assert not books.scheduler


def test_rows_are_withdrawn_from_exactly_the_step_that_is_named() -> None:
    books = Books()
    books.admit([(0, 4, IN_TIME), (1, 6, IN_TIME), *[(1, 1, IN_TIME)] * 4])
    books.turn()  # the batch was cut before the second row, which keeps its place
    assert not books.scheduler.withdraw_from(0, 0)  # it ran
    assert not books.scheduler.withdraw_from(1, 7) and not books.scheduler.withdraw_from(1, -1)
    assert [int(row.positions[0]) for row in books.scheduler.withdraw_from(1, 3)] == [3, 4]
    assert [int(row.positions[0]) for row in books.scheduler.withdraw_from(1, 0)] == [0, 1, 2]
    assert not books.scheduler


def test_rows_that_were_parked_together_become_ready_together() -> None:
    books = Books()
    both = [(number, 0, 1, IN_TIME) for number in (0, 1)]
    books.scheduler.add(piece(books.sink, both))
    books.scheduler.park(piece(books.sink, [(number, 1, 1, IN_TIME) for number in (0, 1)]))
    (first,) = books.scheduler.next(NOW).run
    books.scheduler.settle(first.numbers)
    (second,) = books.scheduler.next(NOW).run
    assert (second.numbers.tolist(), second.positions.tolist()) == ([0, 1], [1, 1])
    assert second.values[0][:, 0].tolist() == [value(0, 1), value(1, 1)]


def test_all_rows_leave_a_scheduler_that_is_given_up() -> None:
    books = Books()
    books.admit([(0, 1, IN_TIME), (1, 1, IN_TIME), (0, 1, IN_TIME)])
    assert sum(map(len, books.scheduler.withdraw_all())) == 3
    assert not books.scheduler and not books.scheduler.withdraw_all()


def test_a_row_is_found_without_a_look_at_the_rest_of_the_queue() -> None:
    scheduler, sink = Scheduler(ROWS, TOKENS, sequences=5), Heard()
    others = [piece(sink, [(number, 0, 1, IN_TIME)]) for number in (1, 2, 3)]
    for other in others:
        scheduler.add(other)
        object.__setattr__(other, "numbers", None)  # who looks, fails
    scheduler.add(piece(sink, [(4, 0, 1, IN_TIME)]))
    assert not scheduler.withdraw_from(0, 0) and not scheduler.withdraw_from(4, 1)
    assert [int(step.numbers[0]) for step in scheduler.withdraw_from(4, 0)] == [4]


def test_no_piece_is_larger_than_a_batch_for_a_row_leaves_it_at_the_cost_of_a_copy() -> None:
    for equal_lengths, sizes in ((False, [3, 3, 1]), (True, [3, 1, 3])):
        scheduler, sink = Scheduler(ROWS, TOKENS, sequences=7, equal_lengths=equal_lengths), Heard()
        scheduler.add(piece(sink, [(number, 0, 1 + number // 4, IN_TIME) for number in range(7)]))
        assert [len(part) for part in scheduler.withdraw_all()] == sizes
