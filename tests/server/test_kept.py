from __future__ import annotations

import numpy as np
import pytest

from headrace.ragged import starts
from headrace.server.kept import MOST_BYTES, MOST_STEPS, Kept
from headrace.server.steps import Outputs, Steps

from .fakes import FEATURES, SUM, Heard, steps

CELL = FEATURES * 4  # bytes of one output cell of SUM; a step of n time steps keeps n of `y` and 1 of `last`


def kept(most_bytes: int = 1 << 20) -> Kept:
    return Kept(4, SUM.outputs, most_bytes)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def lengths(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def rows(*of: tuple[int, int, list[float]]) -> tuple[Steps, Outputs]:
    """Steps of (sequence, position, values), and outputs that repeat the values; `last` is each row's last cell."""
    made = steps(Heard(), of).numbered(numbers(*(n for n, *_ in of)))
    (x,) = made.values  # [tokens, features]
    last = x[starts(made.lengths) + made.lengths - 1]  # [rows, features]
    return made, Outputs((x, last), (True, False), made.lengths)


def fill(store: Kept, *of: tuple[int, int, list[float]]) -> None:
    made, outputs = rows(*of)
    store.reserve(made.numbers, made.lengths)
    store.keep(made.numbers.astype(np.intp), made.positions, made.lengths, outputs)


def test_a_kept_reply_is_found_by_exactly_its_own_step() -> None:
    store = kept()
    fill(store, (0, 0, [1, 2, 3]), (2, 5, [7]))
    found = store.find(0, 0, 3)
    assert found is not None
    np.testing.assert_array_equal(found[0], [[1, 1], [2, 2], [3, 3]])
    np.testing.assert_array_equal(found[1], [[3, 3]])
    other = store.find(2, 5, 1)
    assert other is not None and other[0].tolist() == [[7, 7]]
    assert [store.find(*step) for step in ((0, 0, 2), (0, 1, 2), (1, 0, 3), (2, 0, 1))] == [None] * 4


def test_what_is_acknowledged_is_forgotten_and_its_bytes_are_free() -> None:
    store = kept()
    fill(store, (0, 0, [1, 2]))
    fill(store, (0, 2, [3]))
    assert store.total == store.size[0] == (3 + 2) * CELL and store.count[0] == 2
    store.acknowledge(numbers(0), lengths(1))  # in the middle of the first
    assert store.find(0, 0, 2) is not None
    store.acknowledge(numbers(0, 1), lengths(2, 9))
    assert store.find(0, 0, 2) is None and store.find(0, 2, 1) is not None
    assert store.total == store.size[0] == 2 * CELL and store.count[0] == 1
    store.drop(0)
    assert store.total == store.size[0] == store.count[0] == 0


def test_a_released_reservation_leaves_nothing_even_of_a_sequence_named_twice() -> None:
    store = kept()
    store.reserve(numbers(0), lengths(2))
    store.reserve(numbers(0), lengths(3))
    store.release(numbers(0, 0), lengths(2, 3))
    assert store.total == 0 and not store.count.any() and not store.size.any()


def test_a_sequence_has_room_for_so_many_steps() -> None:
    store = kept()
    for _ in range(MOST_STEPS):
        assert store.fits(numbers(0, 1), lengths(1, 1)).tolist() == [True, True]
        store.reserve(numbers(0), lengths(1))
    assert store.fits(numbers(0, 1), lengths(1, 1)).tolist() == [False, True]


def test_a_large_reply_fits_alone_and_only_alone() -> None:
    store, large = kept(), MOST_BYTES // CELL
    assert store.fits(numbers(0), lengths(large)).tolist() == [True]
    store.reserve(numbers(0), lengths(large))
    assert store.fits(numbers(0, 1), lengths(1, 1)).tolist() == [False, True]


@pytest.mark.parametrize(("most", "expected"), [(4, [True, True]), (3, [True, False]), (1, [False, False])])
def test_the_bound_of_all_sequences_counts_the_rows_of_one_frame_together(most: int, expected: list[bool]) -> None:
    store = kept(most_bytes=most * CELL)
    assert store.fits(numbers(0, 1), lengths(1, 1)).tolist() == expected


def test_a_reply_that_is_refused_takes_no_room_from_those_behind_it() -> None:
    store = kept(most_bytes=(MOST_BYTES // CELL + 5) * CELL)
    store.reserve(numbers(0), lengths(1))
    assert store.fits(numbers(0, 1), lengths(MOST_BYTES // CELL, 2)).tolist() == [False, True]
