from __future__ import annotations

import numpy as np
import pytest

from headrace.ragged import starts
from headrace.server.kept import MOST_BYTES, MOST_STEPS, Kept
from headrace.server.steps import NEVER_AGAIN, Outputs, Steps

from .fakes import FEATURES, SUM, Heard, steps

CELL = FEATURES * 4  # bytes of one output cell of SUM; a step of n time steps keeps n of `y` and 1 of `last`


def kept(most_bytes: int = 1 << 20) -> Kept:
    return Kept(4, SUM.outputs, most_bytes)


def numbers(*values: int) -> np.ndarray:
    return np.array(values)


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
    assert store.reserve(made.numbers, made.lengths).all()
    store.keep(made.numbers.astype(np.intp), made.positions + made.lengths, outputs)


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


def test_nothing_is_found_at_the_place_that_stands_for_none() -> None:
    assert kept().find(0, NEVER_AGAIN - 1, 1) is None


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
        assert store.reserve(numbers(0), lengths(1)).tolist() == [True]
    total = store.total
    assert store.reserve(numbers(0, 1), lengths(1, 1)).tolist() == [False, True]
    assert store.count.tolist() == [MOST_STEPS, 1, 0, 0] and store.total == total + 2 * CELL


def test_a_large_reply_fits_alone_and_only_alone() -> None:
    store, large = kept(), MOST_BYTES // CELL
    assert store.reserve(numbers(0), lengths(large)).tolist() == [True]
    assert store.reserve(numbers(0, 1), lengths(1, 1)).tolist() == [False, True]


@pytest.mark.parametrize(("most", "expected"), [(4, [True, True]), (3, [True, False]), (1, [False, False])])
def test_the_bound_of_all_sequences_counts_the_rows_of_one_frame_together(most: int, expected: list[bool]) -> None:
    store = kept(most_bytes=most * CELL)
    assert store.reserve(numbers(0, 1), lengths(1, 1)).tolist() == expected
    assert store.total == 2 * CELL * sum(expected) == store.size.sum()


def test_a_reply_that_is_refused_takes_no_room_from_those_behind_it() -> None:
    store = kept(most_bytes=(MOST_BYTES // CELL + 5) * CELL)
    store.reserve(numbers(0), lengths(1))
    assert store.reserve(numbers(0, 1), lengths(MOST_BYTES // CELL, 2)).tolist() == [False, True]
    assert store.size.tolist() == [2 * CELL, 3 * CELL, 0, 0]


def test_a_cell_holds_one_reply_and_the_others_are_found_beside_it() -> None:
    store = kept()
    fill(store, (0, 0, [1]), (1, 0, [2]))
    fill(store, (0, 1, [3]), (1, 1, [4, 5]))  # the cells are full
    found = [store.find(*step) for step in ((0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 2))]
    assert [reply[0][:, 0].tolist() for reply in found if reply] == [[1], [2], [3], [4, 5]]
    assert [reply[1][:, 0].tolist() for reply in found if reply] == [[1], [2], [3], [5]]
    store.acknowledge(numbers(0, 1), lengths(1, 3))
    assert [store.find(*step) is None for step in ((0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 2))] == [1, 1, 0, 1]
    assert store.count.tolist() == [1, 0, 0, 0] and store.total == 2 * CELL == store.size.sum()


def test_what_was_found_stays_as_it_is_when_the_cell_is_written_again() -> None:
    store = kept()
    fill(store, (0, 0, [1]))
    found = store.find(0, 0, 1)
    store.acknowledge(numbers(0), lengths(1))
    fill(store, (0, 1, [2]))
    assert found is not None and found[0].tolist() == [[1, 1]]


def test_room_passes_from_an_acknowledged_reply_to_the_next_of_its_size() -> None:
    store = kept()
    fill(store, (0, 0, [1]), (1, 4, [2]))
    before = store.total, store.count.tolist(), store.size.tolist()
    assert store.pass_on(numbers(0, 1), lengths(1, 5))
    assert (store.total, store.count.tolist(), store.size.tolist()) == before
    assert store.find(0, 0, 1) is None and store.find(1, 4, 1) is None
    made, outputs = rows((0, 1, [3]), (1, 5, [4]))
    store.keep(made.numbers, made.positions + made.lengths, outputs)
    assert store.find(0, 1, 1) is not None and store.find(0, 0, 1) is None
    store.acknowledge(numbers(0, 1), lengths(2, 6))
    assert store.total == 0 and not store.count.any() and not store.size.any()


@pytest.mark.parametrize(("of", "acked"), [([1], 0), ([1, 2], 2), ([], 0)], ids=str)
def test_room_does_not_pass_where_a_sum_would_change(of: list[float], acked: int) -> None:
    store = kept()
    if of:
        fill(store, (0, 0, of))
    total = store.total
    assert not store.pass_on(numbers(0), lengths(acked))
    assert store.total == total and (not of or store.find(0, 0, len(of)) is not None)


def test_a_step_that_is_never_sent_again_passes_where_nothing_is_kept() -> None:
    store = kept()
    assert store.pass_on(numbers(0), lengths(NEVER_AGAIN))
    fill(store, (0, 0, [1]))
    assert not store.pass_on(numbers(0), lengths(NEVER_AGAIN))
    assert store.find(0, 0, 1) is not None


def test_nothing_of_a_sequence_that_left_is_found_under_its_number() -> None:
    store = kept()
    fill(store, (0, 0, [1]))
    fill(store, (0, 1, [2, 3]))
    store.drop(0)
    assert store.total == 0 and not store.count.any() and not store.size.any()
    assert store.find(0, 0, 1) is None and store.find(0, 1, 2) is None
    fill(store, (0, 0, [7]))
    found = store.find(0, 0, 1)
    assert found is not None and found[0].tolist() == [[7, 7]]


def test_where_cells_would_take_more_memory_than_replies_may_there_are_none() -> None:
    store = kept(most_bytes=2 * CELL * 4 - 1)
    fill(store, (0, 0, [1]), (1, 0, [2]))
    found = store.find(1, 0, 1)
    assert found is not None and found[0].tolist() == [[2, 2]] and found[1].tolist() == [[2, 2]]
    assert not store.pass_on(numbers(0), lengths(1))
    store.acknowledge(numbers(0, 1), lengths(1, 1))
    assert store.total == 0 and not store.count.any()
