"""The operators on padded tensors against plain indexing, and their traced shapes against their real ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headrace.export import padded_ops as ops
from headrace.export.overrides import flat

LENGTHS, TIMES = torch.tensor([4, 1, 7]), torch.arange(7)
CHECKS = ("test_schema", "test_faketensor")


def packed(*shape: int) -> Tensor:
    return torch.randn(int(LENGTHS.sum()), *shape)


def test_padding_repeats_a_rows_own_last_token() -> None:
    x = packed(2)
    padded = ops.pad(x, LENGTHS, TIMES)
    for row, own in zip(padded, x.split(LENGTHS.tolist()), strict=True):
        assert torch.equal(row[: len(own)], own) and (row[len(own) :] == own[-1]).all()
    assert torch.equal(ops.unpad(padded, LENGTHS, x), x)


@pytest.mark.parametrize(("rows", "time"), [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)])
def test_last_is_each_rows_own(rows: int, time: int) -> None:
    x = torch.randn(3, 7, 2).permute(*[(rows, time, 3 - rows - time).index(axis) for axis in range(3)])
    got = ops.last(x, LENGTHS, rows, time)
    for row, n in enumerate(LENGTHS.tolist()):
        want = x.select(time, n - 1).select(rows - (time < rows), row)
        assert torch.equal(got.select(rows - (time < rows), row), want)


def test_rows_of_one_step_and_back() -> None:
    x, ones = torch.randn(3, 2), torch.ones(3, dtype=torch.int64)
    assert torch.equal(ops.by_row(x, ones), x) and torch.equal(ops.by_token(x, ones, x), x)


@torch.no_grad()
def test_recurrent_layers_end_at_each_rows_own_step() -> None:
    gru, x, h = nn.GRU(5, 6, batch_first=True, bidirectional=True), torch.randn(3, 7, 5), torch.randn(3, 2, 6)
    y, end = ops.padded_recurrent(x, LENGTHS, h, flat(gru), "GRU", 2)
    for k, n in enumerate(LENGTHS.tolist()):
        want, last = gru(x[k, :n], h[k])
        torch.testing.assert_close(y[k, :n], want)
        torch.testing.assert_close(end[k], last)
        assert not y[k, n:].any()


@torch.no_grad()
def test_traced_shapes_are_the_real_ones() -> None:
    x, h, one = torch.randn(3, 7, 5), torch.randn(3, 1, 6), torch.ones(3, dtype=torch.int64)
    cases: list[tuple[Any, tuple[Any, ...]]] = [
        (ops.pad, (packed(2, 3), LENGTHS, TIMES)),
        (ops.unpad, (x, LENGTHS, packed())),
        (ops.last, (x, LENGTHS, 0, 1)),
        (ops.by_row, (torch.randn(3, 5), one)),
        (ops.by_token, (torch.randn(3, 5), one, torch.randn(3))),
        (ops.padded_recurrent, (x, LENGTHS, h, flat(nn.RNN(5, 6)), "RNN_TANH", 1)),
        (ops.padded_lstm, (x, LENGTHS, h, h.clone(), flat(nn.LSTM(5, 6)), [], 1)),
    ]
    for operator, arguments in cases:
        torch.library.opcheck(operator, arguments, test_utils=CHECKS)
