"""Rows are sorted for the graph, and what it gives is given back as the rows came."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headrace.server.batch import Batch, Grown
from headrace.server.caches.order import back, in_order


def batch(lengths: list[int]) -> tuple[Batch, Grown]:
    rows, tokens = np.arange(len(lengths)), np.arange(sum(lengths))
    return Batch((tokens,), np.array(lengths), rows, rows, rows > 0), Grown(rows, rows)


def test_rows_of_one_token_come_first_each_by_its_hot_row() -> None:
    found = in_order(*batch([2, 1, 3, 1]), np.array([0, 7, 5, 3]))
    assert found.rows.tolist() == [3, 7, 0, 5] and found.singles == 2
    assert found.batch.lengths.tolist() == [1, 1, 2, 3] and found.grown.past.tolist() == [3, 1, 0, 2]
    assert found.batch.values[0].tolist() == [6, 2, 0, 1, 3, 4, 5]


def test_results_come_back_as_the_rows_came() -> None:
    given, grown = batch([2, 1, 3, 1])
    found = in_order(given, grown, np.array([0, 7, 5, 3]))
    assert back(found.batch.values[0], found, timed=True).tolist() == list(range(7))
    assert back(found.batch.read, found, timed=False).tolist() == [0, 1, 2, 3]


def test_results_that_are_asked_for_come_back_as_the_rows_came() -> None:
    """Of the rows of 2, 1, 3 and 1 tokens the last 1, 1, 2 and 0."""
    (given, grown), asked = batch([2, 1, 3, 1]), np.array([1, 1, 2, 0])
    found = in_order(replace(given, asked=asked), grown, np.array([0, 7, 5, 3]))
    assert found.batch.asked is not None and found.batch.asked.tolist() == [0, 1, 1, 2]
    assert back(np.array([2, 1, 4, 5]), found, timed=True).tolist() == [1, 2, 4, 5]


def test_a_batch_in_order_is_left_as_it_is() -> None:
    given, grown = batch([1, 1, 4])
    found = in_order(given, grown, np.array([1, 2, 0]))
    assert found.batch is given
    cells = np.arange(6)
    assert back(cells, found, timed=True) is not cells  # the next run writes there
