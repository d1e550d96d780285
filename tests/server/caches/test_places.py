"""Who gets which hot row: the lowest free ones, then those of whoever has not stepped for longest."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.server.caches.places import NOWHERE, Move, Places


def places(*ticks: list[int], rows: int = 4) -> Places:
    """After these ticks."""
    found = Places(rows, 1)
    for numbers in ticks:
        step(found, numbers)
    return found


def step(of: Places, numbers: list[int]) -> list[Move]:
    of.know(np.array(numbers))
    lacking = of.touch(np.array(numbers)) == NOWHERE
    return of.claim(np.array(numbers)[lacking])


def test_the_lowest_free_rows_are_taken() -> None:
    found = places([7, 3, 5])
    assert found.row[[7, 3, 5]].tolist() == [0, 1, 2]
    assert found.leave(3) == 1
    assert step(found, [9]) == [Move(9, 1, NOWHERE)]


def test_who_has_not_stepped_for_longest_leaves() -> None:
    found = places([0, 1], [2, 3], [0])
    assert step(found, [4, 5]) == [Move(4, 1, 1), Move(5, 2, 2)]
    assert found.row[:6].tolist() == [0, NOWHERE, NOWHERE, 3, 1, 2]


def test_nobody_of_this_tick_leaves() -> None:
    found = places([0, 1, 2, 3])
    assert step(found, [0, 1, 9, 2]) == [Move(9, 3, 3)]
    with pytest.raises(IndexError, match="2 rows wanted, 1 can be had"):
        step(found, [0, 1, 2, 10, 11])


def test_a_move_down_takes_a_free_row_before_that_of_another() -> None:
    found = places([0, 1, 2, 3])
    found.leave(1)
    step(found, [3])
    assert found.lower(3, 0) == Move(3, 1, NOWHERE)
    step(found, [9])  # in row 3, which is free now
    assert found.lower(3, 0) == Move(9, 0, 0)
    assert found.row[[0, 9]].tolist() == [NOWHERE, 0]


def test_there_is_no_lower_row_where_all_step() -> None:
    found = places([0, 1, 2, 3])
    step(found, [0, 1, 2, 3])
    assert found.lower(3, 0) is None


def test_columns_grow_with_the_numbers() -> None:
    found = places([1000])
    assert found.row[1000] == 0 and found.base.shape[1] == len(found.held) == len(found.row) > 1000


def test_who_is_forgotten_has_nothing_in_use() -> None:
    found = places([2])
    found.held[2], found.filled[2], found.base[0, 2] = 5, 3, 1
    found.forget(2)
    assert (found.held[2], found.filled[2], found.base[0, 2]) == (0, 0, 0)
    assert repr(found) == "Places(hot=1, rows=4)"
