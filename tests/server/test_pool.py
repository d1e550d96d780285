"""Rows leave the pool once each, with all that came with them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.server.pool import KEY, LENGTH, PIECE, Pool
from headrace.server.steps import Steps

from .fakes import Heard, steps


def frame(keys: list[int], sink: Heard | None = None) -> Steps:
    """A row of length key + 1 and values key for each."""
    return steps(sink or Heard(), [(key, 0, [key] * (key + 1)) for key in keys])


def keys(pieces: list[Steps]) -> list[int]:
    for piece in pieces:
        assert piece.lengths.tolist() == (piece.keys + 1).tolist()
        assert piece.values[0][:, 0].tolist() == np.repeat(piece.keys, piece.lengths).tolist()
    return [key for piece in pieces for key in piece.keys.tolist()]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), max_size=6), st.randoms(use_true_random=False))
def test_rows_leave_once_whichever_are_taken_when(frames: list[list[int]], random: object) -> None:
    pool, waiting, rng = Pool(), list[int](), np.random.default_rng(0)
    for rows in frames:
        pool.add(frame(rows))
        waiting += rows
        assert len(pool) == len(waiting) and pool.column(LENGTH).tolist() == [key + 1 for key in waiting]
        places = np.flatnonzero(rng.integers(0, 2, len(waiting)))
        assert keys(pool.take(places)) == [waiting[place] for place in places]
        waiting = np.delete(waiting, places).tolist()
    assert keys(pool.take(np.arange(len(waiting)))) == waiting
    assert not pool and not len(pool) and repr(pool) == "Pool(rows=0, pieces=0)"


def test_a_frame_that_leaves_as_it_came_is_not_copied() -> None:
    pool, whole = Pool(), frame([1, 2, 3])
    pool.add(whole)
    (taken,) = pool.take(np.arange(pool.column(PIECE).size))
    assert taken is whole


def test_rows_without_any_are_none() -> None:
    pool = Pool()
    pool.add(frame([1]).take(np.array([False])))
    assert not pool and pool.column(KEY).size == 0


def test_rows_are_late_from_behind_their_deadline_on() -> None:
    pool, early, never = Pool(), frame([1, 2]), frame([3])
    early.deadlines[:] = [5.0, 7.0]
    pool.add(early)
    pool.add(never)
    assert keys(pool.late(5.0)) == [] and keys(pool.late(5.1)) == [1]
    assert pool.urgent(100.0).tolist() == [0]
    assert keys(pool.late(100.0)) == [2] and len(pool) == 1


def test_a_caller_takes_its_rows_along_or_those_with_its_keys_alone() -> None:
    pool, one, other = Pool(), Heard(), Heard()
    for rows, sink in (([1, 2, 3], one), ([1, 2], other), ([4, 1], one)):
        pool.add(frame(rows, sink))
    assert keys(pool.take_of(lambda piece: piece.sink is one, frozenset([1, 4, 9]))) == [1, 4, 1]
    assert keys(pool.take_of(lambda piece: piece.sink is one)) == [2, 3]
    assert keys(pool.take_of(lambda piece: True)) == [1, 2] and not pool
