"""The custom operators against stock modules, each row alone, and their traced shapes against their real ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headrace.export import ops

LENGTHS = torch.tensor([4, 1, 7, 2, 7])
CHECKS = ("test_schema", "test_faketensor")

STOCK: dict[str, Any] = {
    "GRU": nn.GRU(5, 6),
    "GRU of two layers": nn.GRU(5, 6, 2),
    "GRU without bias": nn.GRU(5, 6, bias=False),
    "tanh RNN": nn.RNN(5, 6, 2),
    "ReLU RNN": nn.RNN(5, 6, nonlinearity="relu"),
}


BOTH = nn.LSTM(5, 6, proj_size=4, bidirectional=True, bias=False)
"""Projected, and in both directions."""


def rows(x: Tensor) -> tuple[Tensor, ...]:
    return x.split_with_sizes(LENGTHS.tolist())


def flat(rnn: nn.RNNBase) -> list[Tensor]:
    return [weight for layer in rnn.all_weights for weight in layer]


@pytest.mark.parametrize("name", STOCK)
@torch.no_grad()
def test_recurrent_is_the_stock_module_on_each_row(name: str) -> None:
    rnn = STOCK[name]
    x, h = torch.randn(int(LENGTHS.sum()), 5), torch.randn(len(LENGTHS), rnn.num_layers, 6)
    y, end = ops.recurrent(x, LENGTHS, h, flat(rnn), rnn.mode, 1)
    for row, got, start, last in zip(rows(x), rows(y), h, end, strict=True):
        want, state = rnn(row, start)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(last, state)


@pytest.mark.parametrize("layers", [1, 2])
@torch.no_grad()
def test_lstm_is_the_stock_module_on_each_row(layers: int) -> None:
    rnn = nn.LSTM(5, 6, layers)
    x, (h, c) = torch.randn(int(LENGTHS.sum()), 5), torch.randn(2, len(LENGTHS), layers, 6)
    y, end, cell = ops.lstm(x, LENGTHS, h, c, flat(rnn), [], 1)
    for k, (row, got) in enumerate(zip(rows(x), rows(y), strict=True)):
        want, (state, memory) = rnn(row, (h[k], c[k]))
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(end[k], state)
        torch.testing.assert_close(cell[k], memory)


@torch.no_grad()
def test_backward_rows_begin_at_their_own_ends() -> None:
    x, h, c = torch.randn(int(LENGTHS.sum()), 5), torch.randn(len(LENGTHS), 2, 4), torch.randn(len(LENGTHS), 2, 6)
    y, end, cell = ops.lstm(x, LENGTHS, h, c, flat(BOTH), [], 2)
    for k, (row, got) in enumerate(zip(rows(x), rows(y), strict=True)):
        want, (state, memory) = BOTH(row, (h[k], c[k]))
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(end[k], state)
        torch.testing.assert_close(cell[k], memory)


def test_attention_is_the_equation_on_each_row() -> None:
    q, k, v = torch.randn(3, int(LENGTHS.sum()), 6)
    y = ops.attention(q, k, v, LENGTHS, 2)
    for got, *parts in zip(rows(y), rows(q), rows(k), rows(v), strict=True):
        for head in (slice(0, 3), slice(3, 6)):
            query, key, value = (part[:, head] for part in parts)
            torch.testing.assert_close(got[:, head], (query @ key.T / 3**0.5).softmax(-1) @ value)


@pytest.mark.parametrize("shape", [(1, 1, 7, 7), (5, 1, 1, 7), (5, 2, 7, 7)], ids=str)
def test_a_bias_is_added_to_the_scores_of_each_row(shape: tuple[int, ...]) -> None:
    q, k, v, bias = *torch.randn(3, int(LENGTHS.sum()), 6), torch.randn(shape)
    y, every = ops.biased_attention(q, k, v, LENGTHS, bias, 2), bias.expand(5, 2, 7, 7)
    for added, got, *parts in zip(every, rows(y), rows(q), rows(k), rows(v), strict=True):
        for head in (0, 1):
            query, key, value = (part[:, 3 * head : 3 * head + 3] for part in parts)
            scores = query @ key.T / 3**0.5 + added[head, : len(got), : len(got)]
            torch.testing.assert_close(got[:, 3 * head : 3 * head + 3], scores.softmax(-1) @ value)


def test_mean_and_positions_count_from_each_rows_own_beginning() -> None:
    x = torch.arange(5.0)[:, None]
    assert ops.mean(x, torch.tensor([2, 3])).flatten().tolist() == [0.5, 3.0]
    assert ops.positions(torch.tensor([2, 3]), x).tolist() == [0, 1, 0, 1, 2]


@torch.no_grad()
def test_traced_shapes_are_the_real_ones() -> None:
    tokens, count = int(LENGTHS.sum()), len(LENGTHS)
    x, h = torch.randn(tokens, 5), torch.randn(count, 2, 6)
    cases: list[tuple[Any, tuple[Any, ...]]] = [
        (ops.recurrent, (x, LENGTHS, h, flat(STOCK["GRU of two layers"]), "GRU", 1)),
        (ops.lstm, (x, LENGTHS, h, h.clone(), flat(nn.LSTM(5, 6, 2)), [], 1)),
        (ops.recurrent, (x, LENGTHS, h, flat(nn.RNN(5, 6, bidirectional=True)), "RNN_TANH", 2)),
        (ops.lstm, (x, LENGTHS, h[:, :, :4].clone(), h, flat(BOTH), [], 2)),
        (ops.attention, (*torch.randn(3, tokens, 6), LENGTHS, 2)),
        (ops.biased_attention, (*torch.randn(3, tokens, 6), LENGTHS, torch.randn(5, 1, 1, 7), 2)),
        (ops.mean, (x, LENGTHS)),
        (ops.positions, (LENGTHS, x)),
    ]
    for operator, arguments in cases:
        torch.library.opcheck(operator, arguments, test_utils=CHECKS)
