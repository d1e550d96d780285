"""From measured ticks to limits."""

from __future__ import annotations

import pytest

from headrace.server.knee import IN_A_ROW, LONGEST_TICK, MOST_LANES, Curve, Line, knee, lanes_fed, measure

SIZES = (1, 2, 4, 8, 16)


def ticks(fixed: float, row: float) -> Curve:
    return tuple((size, fixed + size * row) for size in SIZES)


def test_the_knee_is_the_smallest_batch_that_is_nearly_as_good_as_the_best() -> None:
    assert knee(ticks(fixed=0.0, row=1e-5)) == 1  # nothing to share
    assert knee(ticks(fixed=1e-4, row=1e-5)) == 16  # always worth it
    assert knee(((1, 2.0e-5), (2, 3.0e-5), (4, 4.1e-5), (8, 8.0e-5))) == 4  # 8 rows are 2.4 % cheaper
    assert knee(((1, 2.0e-5), (2, 3.0e-5), (4, 4.2e-5), (8, 8.0e-5))) == 8  # 5 %


def test_a_batch_that_keeps_others_waiting_for_long_is_none() -> None:
    long = LONGEST_TICK * 1.1
    assert knee(((1, LONGEST_TICK), (2, long))) == 1
    assert knee(((1, long),)) == 1


def test_a_disturbance_does_not_count_and_the_first_tick_of_a_size_is_none() -> None:
    seen: list[int] = []

    def tick(size: int) -> float:
        seen.append(size)
        disturbed = len(seen) <= len(SIZES) or len(seen) % 2
        return 1e-3 * size * (5 if disturbed else 1)

    assert measure(tick, SIZES, budget=0.0) == tuple((size, pytest.approx(1e-3 * size)) for size in SIZES)
    assert len(seen) == len(SIZES) * (1 + IN_A_ROW)  # twice is the least, whatever the budget


def test_measuring_ends_with_the_budget_and_tries_nothing_beyond_the_first_tick_that_is_too_long() -> None:
    seen: list[int] = []

    def tick(size: int) -> float:
        seen.append(size)
        return LONGEST_TICK * size / 3

    curve = measure(tick, SIZES, budget=1.0)
    assert [size for size, _ in curve] == [1, 2, 4]
    spent = sum(LONGEST_TICK * size / 3 for size in seen)
    assert 1.0 < spent < 1.0 + IN_A_ROW * LONGEST_TICK * 7 / 3


def test_a_call_and_a_time_step_are_told_apart_by_the_smallest_batch_and_the_knee() -> None:
    line = Line.through(ticks(fixed=1e-4, row=1e-5))
    assert (line.call, line.step) == (pytest.approx(10.0), pytest.approx(1e-5))
    assert Line.through(ticks(fixed=0.0, row=1e-5)) == (pytest.approx(5e-6), 1.0)  # the knee is the smallest
    bent = Line.through(((1, 1.0e-3), (2, 1.0e-3), (4, 1.0e-3)))  # the first ticks were disturbed
    assert bent.step > 0 and bent.call < 10


@pytest.mark.parametrize(
    ("share", "lanes"), [(1.0, 1), (0.5, 1), (0.3, 1), (0.25, 2), (0.1, 5), (0.01, MOST_LANES), (0.0, MOST_LANES)]
)
def test_lanes_are_as_many_as_the_interpreter_keeps_busy(share: float, lanes: int) -> None:
    assert lanes_fed(share) == lanes
