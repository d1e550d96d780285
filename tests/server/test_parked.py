"""Rows behind others of their sequence: they leave in order, together if they came so, or from a step on."""

from __future__ import annotations

import numpy as np

from headrace.server.parked import Parked
from headrace.server.steps import Steps

from .fakes import Heard, steps


def piece(sink: Heard, *rows: tuple[int, int]) -> Steps:
    """One time step of each (sequence, position)."""
    made = steps(sink, [(number, position, [1.0]) for number, position in rows])
    return made.numbered(np.array([number for number, _ in rows]))


def places(pieces: list[Steps]) -> list[list[tuple[int, int]]]:
    return [list(zip(p.numbers.tolist(), p.positions.tolist(), strict=True)) for p in pieces]


def test_the_foremost_rows_of_a_piece_leave_as_one() -> None:
    parked, sink = Parked(), Heard()
    parked.add(piece(sink, (1, 0), (2, 0)))
    parked.add(piece(sink, (1, 1), (3, 0)))
    assert len(parked) == 4
    assert places(parked.next(np.array([2, 1, 9]))) == [[(2, 0), (1, 0)]]
    assert places(parked.next(np.array([1, 3]))) == [[(1, 1), (3, 0)]]
    assert not parked and not parked.next(np.array([1]))


def test_rows_leave_from_exactly_the_step_that_is_named() -> None:
    parked, sink, other = Parked(), Heard(), Heard()
    for position in range(4):
        parked.add(piece(sink if position % 2 else other, (1, position)))
    assert parked.of(sink, None) == [(1, 1), (1, 3)] and parked.of(sink, frozenset()) == []
    assert not parked.withdraw_from(1, 4) and not parked.withdraw_from(2, 0)
    assert places(parked.withdraw_from(1, 2)) == [[(1, 2)], [(1, 3)]]
    assert places(parked.withdraw(1)) == [[(1, 0)], [(1, 1)]]
    assert not parked.withdraw_all()
