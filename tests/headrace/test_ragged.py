"""Packed rows: what goes in comes out, and what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from headrace.ragged import Ragged, spans, token_index

LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=8).map(lambda lengths: np.array(lengths, np.int64))


@given(LENGTHS)
def test_rows_come_back_as_they_were(lengths: np.ndarray) -> None:
    rows = [np.full((n, 2), k, np.float32) for k, n in enumerate(lengths)]
    packed = Ragged.of(rows)
    assert [row.tolist() for row in packed] == [row.tolist() for row in rows]
    assert packed.lengths.tolist() == lengths.tolist() and len(packed) == len(rows)
    assert [packed.values[start, 0] for start in packed.starts] == list(range(len(rows)))


@given(LENGTHS, st.data())
def test_the_tokens_of_chosen_rows_in_their_order(lengths: np.ndarray, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=6)), np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    place = np.concatenate([np.arange(n) for n in lengths])
    index = token_index(lengths, rows)
    assert owner[index].tolist() == [row for row in rows for _ in range(lengths[row])]
    assert place[index].tolist() == [k for row in rows for k in range(lengths[row])]


def test_spans_may_begin_anywhere() -> None:
    assert spans(np.array([7, 2]), np.array([2, 3])).tolist() == [7, 8, 2, 3, 4]


@pytest.mark.parametrize(
    ("values", "lengths"),
    [
        (np.zeros((3, 2)), [1, 1]),
        (np.zeros((3, 2)), [4, -1]),
        (np.zeros((3, 2)), [3, 0]),
        (np.zeros((3, 2)), [2**62, 2**62]),
        (np.zeros(()), [1]),
        (np.zeros((3, 2)), [[3]]),
    ],
)
def test_lengths_that_do_not_fit_are_refused(values: np.ndarray, lengths: list[int]) -> None:
    with pytest.raises(InvalidInput):
        Ragged(values, np.array(lengths, np.int64))


def test_rows_that_differ_behind_time_are_refused() -> None:
    for rows in ([], [np.zeros((1, 2)), np.zeros((1, 3))], [np.zeros(1, np.float32), np.zeros(1)]):
        with pytest.raises(InvalidInput):
            Ragged.of(rows)
