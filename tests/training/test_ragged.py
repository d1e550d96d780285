"""The ragged operations give for every row what the stock module gives for that row alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from headrace.training.ragged import RaggedAttention, RaggedMean, RaggedPositions, RaggedRNN, Recurrent

SIZES = [5, 1, 3, 5]
LENGTHS = torch.tensor(SIZES)
KINDS: dict[str, type[Recurrent]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


def stock(kind: str, layers: int) -> Recurrent:
    """Weights three times the usual ones: at those, an error hardly shows."""
    torch.manual_seed(0)
    rnn = KINDS[kind](6, 8, layers)
    for weight in rnn.parameters():
        weight.data *= 3
    return rnn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("sizes", [SIZES, [4, 4, 4, 4], [1, 1, 1, 1]], ids=["ragged", "equal", "single"])
def test_rows_equal_the_stock_module_alone(kind: str, layers: int, sizes: list[int]) -> None:
    core = RaggedRNN(stock(kind, layers))
    x = torch.randn(sum(sizes), 6)
    state = {name: torch.randn(4, layers, 8) for name in core.names}
    y, end = core(x, torch.tensor(sizes), state)
    for row, (steps, answer) in enumerate(zip(torch.split(x, sizes), torch.split(y, sizes), strict=True)):
        start = [state[name][row, :, None] for name in core.names]  # each [layers, 1, hidden]
        expected, last = core.rnn(steps[:, None], tuple(start) if kind == "lstm" else start[0])
        torch.testing.assert_close(answer, expected[:, 0])
        for name, value in zip(core.names, last if kind == "lstm" else [last], strict=True):
            torch.testing.assert_close(end[name][row], value[:, 0])


def test_gradients_equal_the_stock_module_row_by_row() -> None:
    rnn = stock("gru", 2)
    x = torch.randn(sum(SIZES), 6)
    y, _ = RaggedRNN(rnn)(x, LENGTHS, {"h": torch.zeros(4, 2, 8)})
    torch.autograd.backward(y.square().sum())
    got = [weight.grad for weight in rnn.parameters()]
    rnn.zero_grad()
    torch.autograd.backward([rnn(steps[:, None])[0].square().sum() for steps in torch.split(x, SIZES)])
    torch.testing.assert_close(got, [weight.grad for weight in rnn.parameters()])


OPTIONS: dict[str, dict[str, Any]] = {
    "relu": {"nonlinearity": "relu"},
    "no bias": {"bias": False},
    "batch first": {"batch_first": True},
    "both directions": {"bidirectional": True, "num_layers": 2},
    "both directions, batch first": {"bidirectional": True, "batch_first": True},
    "projected": {"proj_size": 3, "num_layers": 2},
    "projected, both directions": {"proj_size": 3, "bidirectional": True, "bias": False},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("sizes", [SIZES, [4, 4, 4, 4]], ids=["ragged", "equal"])
def test_every_option_is_the_stock_modules(name: str, sizes: list[int]) -> None:
    options = OPTIONS[name]
    kind: type[Recurrent] = nn.RNN if "nonlinearity" in options else nn.LSTM if "proj_size" in options else nn.GRU
    core = RaggedRNN(kind(6, 8, **options))
    x, state = torch.randn(sum(sizes), 6), {name: torch.randn(4, *shape) for name, shape in core.shapes.items()}
    y, end = core(x, torch.tensor(sizes), state)
    assert y.shape == (sum(sizes), core.width)
    for row, (steps, answer) in enumerate(zip(torch.split(x, sizes), torch.split(y, sizes), strict=True)):
        start = [state[name][row] for name in core.names]  # each [layers, width]
        expected, last = core.rnn(steps, tuple(start) if len(start) > 1 else start[0])
        torch.testing.assert_close(answer, expected)
        for name, value in zip(core.names, last if len(start) > 1 else [last], strict=True):
            torch.testing.assert_close(end[name][row], value)


def test_only_whole_rows_may_go_without_a_state() -> None:
    x = torch.randn(sum(SIZES), 6)
    both = RaggedRNN(nn.LSTM(6, 8, bidirectional=True))
    torch.testing.assert_close(both(x, LENGTHS, {})[0][:5], both.rnn(x[:5])[0])
    with pytest.raises(ValueError, match="in one direction needs its state"):
        RaggedRNN(nn.LSTM(6, 8))(x, LENGTHS, {})


def test_dropout_between_layers_is_of_training_alone() -> None:
    core, x = RaggedRNN(nn.GRU(6, 8, 2, dropout=0.5)), torch.randn(sum(SIZES), 6)
    state = {"h": torch.zeros(4, 2, 8)}
    assert not torch.equal(core(x, LENGTHS, state)[0], core(x, LENGTHS, state)[0])
    core.eval()
    assert torch.equal(core(x, LENGTHS, state)[0], core(x, LENGTHS, state)[0])


def test_attention_stays_within_each_row() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, sum(SIZES), 8) * 3

    def heads(t: Tensor) -> Tensor:  # [time, width] → [heads, time, width / heads]
        return t.view(-1, 2, 4).transpose(0, 1)

    rows = zip(torch.split(q, SIZES), torch.split(k, SIZES), torch.split(v, SIZES), strict=True)
    expected = [
        scaled_dot_product_attention(heads(a), heads(b), heads(c)).transpose(0, 1).flatten(1) for a, b, c in rows
    ]
    torch.testing.assert_close(RaggedAttention(2)(q, k, v, LENGTHS), torch.cat(expected))


def test_mean_is_that_of_each_row() -> None:
    x = torch.randn(sum(SIZES), 8)
    torch.testing.assert_close(RaggedMean()(x, LENGTHS), torch.stack([row.mean(0) for row in torch.split(x, SIZES)]))


def test_positions_begin_anew_in_each_row() -> None:
    places = RaggedPositions()(LENGTHS, torch.zeros(sum(SIZES), 2))
    assert places.tolist() == [0, 1, 2, 3, 4, 0, 0, 1, 2, 0, 1, 2, 3, 4]
