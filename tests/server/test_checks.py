"""Which rows of a frame the spec allows; good frames cost no more for bad neighbours, and no warning."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.errors import InvalidInput, SequenceFull
from headrace.server.checks import endings, problems
from headrace.spec import Chunk, Input

from .fakes import SUM, Heard, steps


def broken(*rows: list[float]) -> list[bool]:
    """[rows] whether some rule forbids the row."""
    made = steps(Heard(), [(key, 0, values) for key, values in enumerate(rows)])
    mask = np.zeros(len(rows), np.bool_)
    for rows_of_rule, _ in problems(SUM, made):
        mask |= rows_of_rule
    return mask.tolist()


def test_good_rows_break_no_rule() -> None:
    assert broken([1, 2], [3], [0] * 16) == [False, False, False]


@pytest.mark.parametrize(
    "bad", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [1, np.nan, np.inf, -np.inf]], ids=str
)
def test_values_that_are_not_finite_are_found_in_their_row(bad: list[float]) -> None:
    assert broken([1], bad, [2, 3]) == [False, True, False]


def test_infinities_of_two_rows_do_not_acquit_each_other() -> None:
    assert broken([np.inf], [1], [-np.inf]) == [True, False, True]


def test_finite_values_whose_sum_is_large_are_allowed() -> None:
    huge = float(np.finfo(np.float32).max)
    assert broken([huge, huge], [huge]) == [False, False]


def test_lengths_have_bounds() -> None:
    assert broken([], [1], [1] * 17, [1] * 16) == [True, False, True, False]


def test_token_ids_lie_in_the_vocabulary() -> None:
    tokens = SUM.model_copy(update={"inputs": (Input(name="x", dtype="int64", shape=(), vocabulary=5),)})
    made = steps(Heard(), [(0, 0, [0, 4]), (1, 0, [5]), (2, 0, [-1])])
    object.__setattr__(made, "values", (np.array([0, 4, 5, -1], np.int64),))
    ((rows, error),) = problems(tokens, made)
    assert rows.tolist() == [False, True, True] and "outside 0 to 4" in str(error)


@pytest.mark.parametrize(
    ("padded_end", "wrong"), [(False, [True, True, False, True]), (True, [True, False, False, True])]
)
def test_chunks_of_exactly_n_and_a_shorter_last_one(padded_end: bool, wrong: list[bool]) -> None:
    chunk = Chunk(longest=4, exactly=4, padded_end=padded_end)
    rows = steps(Heard(), [(key, 0, [0] * length) for key, length in enumerate((0, 3, 4, 5))])
    found = list(problems(SUM.model_copy(update={"chunk": chunk}), rows))
    assert np.any([rows for rows, _ in found], axis=0).tolist() == wrong
    assert any("exactly 4 time steps" in str(error) for _, error in found)


def test_a_sequence_has_ended_where_no_chunk_can_begin() -> None:
    rows = steps(Heard(), [(key, position, [0]) for key, position in enumerate((0, 3, 4, 9))])
    exactly = SUM.model_copy(update={"chunk": Chunk(longest=4, exactly=4, padded_end=True)})
    ((over, error),) = endings(exactly, rows)
    assert over.tolist() == [0, 1, 0, 1] and isinstance(error, InvalidInput)
    assert not list(endings(SUM, rows))


def test_no_step_goes_beyond_the_longest_sequence() -> None:
    bounded = SUM.model_copy(update={"longest": 5})
    rows = steps(Heard(), [(0, 3, [0, 0]), (1, 3, [0, 0, 0]), (2, 5, [0])])
    ((over, error),) = endings(bounded, rows)
    assert over.tolist() == [False, True, True] and isinstance(error, SequenceFull)
