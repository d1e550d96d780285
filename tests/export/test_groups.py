"""The maps of groups, evaluated operator by operator: a token has one cell, and no group is longer than it must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnxscript.tensor import Tensor

from headrace.export.groups import GROUPS, cells, groups

LENGTHS = ([5], [2, 9], [4, 4, 4, 4], [1, 8, 3, 8, 2, 7, 1], [128, *[3] * 40, 60])


def array(value: Any) -> np.ndarray:
    return np.asarray(value.value if isinstance(value, Tensor) else value)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_every_token_has_a_cell_of_its_own(lengths: list[int]) -> None:
    given = Tensor(np.array(lengths))
    every = groups(given)
    tokens = np.concatenate([array(group.pad).ravel() for group in every])  # [cells] token of each cell
    valid = np.concatenate([array(group.valid).ravel() for group in every])
    cell = array(cells(given, every))  # [tokens]
    assert tokens[cell].tolist() == list(range(sum(lengths))) and valid[cell].all()
    assert valid.sum() == sum(lengths)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_rows_are_ranked_and_their_padding_is_their_own_last_token(lengths: list[int]) -> None:
    every = groups(Tensor(np.array(lengths)))
    rows = np.concatenate([array(group.rows) for group in every])
    assert sorted(rows) == list(range(len(lengths))) and (np.diff(np.array(lengths)[rows]) <= 0).all()
    ends = np.cumsum(lengths)
    for group in every:
        pad, own = array(group.pad), array(group.rows)
        assert not own.size or pad.shape == (own.size, max(lengths[row] for row in own))
        for row, tokens in zip(own, pad, strict=True):
            assert tokens[lengths[row] - 1 :].tolist() == [ends[row] - 1] * (len(tokens) - lengths[row] + 1)


def test_short_rows_are_not_padded_to_the_longest() -> None:
    cell = sum(array(group.pad).size for group in groups(Tensor(np.array(LENGTHS[-1]))))
    assert GROUPS == 3 and cell == 14 * 128 + 28 * 3
