"""The ragged operations as custom torch operators, so that an exporter meets each as one node.

Eager they run the stock kernels; `translate` says what each becomes in ONNX. All take packed tokens and `lengths`
[rows] int64, each at least 1. Traced shapes stay symbolic: the numbers of tokens and of rows are independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

Kernel = Callable[..., tuple[Tensor, ...]]

KERNELS: dict[str, Kernel] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}
"""The kernels behind the stock modules, by `nn.RNNBase.mode`."""


@torch.library.custom_op("headrace::recurrent", mutates_args=())
def recurrent(
    x: Tensor, lengths: Tensor, h: Tensor, weights: Sequence[Tensor], mode: str, directions: int
) -> tuple[Tensor, Tensor]:
    """All layers of a GRU or tanh/ReLU RNN.

    x [tokens, features], h [rows, layers * directions, hidden] → y [tokens, directions * hidden], h at each row's end.
    weights: of each layer and direction w_ih, w_hh and, with a bias, b_ih, b_hh, in torch's gate order.
    directions: 1, or 2 with the backward direction beginning at each row's own end.
    """
    y, (end,) = run_packed(x, lengths, (h,), weights, mode, directions)
    return y, end


@torch.library.custom_op("headrace::lstm", mutates_args=())
def lstm(
    x: Tensor,
    lengths: Tensor,
    h: Tensor,
    c: Tensor,
    weights: Sequence[Tensor],
    inverses: Sequence[Tensor],
    directions: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """All layers of an LSTM: as `recurrent`, with the cell's state c beside h.

    With a projection, h is [rows, layers * directions, width], the weights have w_hr [width, hidden] as their last, and
    `inverses` has its pseudo-inverse [hidden, width] for each layer and direction, which only an exporter needs.
    """
    y, (end, cell) = run_packed(x, lengths, (h, c), weights, "LSTM", directions)
    return y, end, cell


@torch.library.custom_op("headrace::attention", mutates_args=())
def attention(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, heads: int) -> Tensor:
    """Scaled dot-product attention within each row (Vaswani et al. 2017, equation 1). All [tokens, width]."""
    sizes = lengths.tolist()
    rows = zip(*(t.view(len(t), heads, -1).transpose(0, 1).split_with_sizes(sizes, 1) for t in (q, k, v)), strict=True)
    alone = [scaled_dot_product_attention(*row).transpose(0, 1).flatten(1) for row in rows]  # each [time, width]
    return torch.cat(alone)


@torch.library.custom_op("headrace::biased_attention", mutates_args=())
def biased_attention(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, bias: Tensor, heads: int) -> Tensor:
    """The same with `bias` added to the scores: [1 or rows, 1 or heads, 1 or time, time], as if rows were padded."""
    sizes, biases = lengths.tolist(), bias.expand(lengths.shape[0], -1, -1, -1)
    rows = zip(*(t.view(len(t), heads, -1).transpose(0, 1).split_with_sizes(sizes, 1) for t in (q, k, v)), strict=True)
    alone = []
    for (query, key, value), added, n in zip(rows, biases, sizes, strict=True):
        mask = added[:, :n, :n].expand(heads, n, n)
        alone.append(scaled_dot_product_attention(query, key, value, mask).transpose(0, 1).flatten(1))  # [time, width]
    return torch.cat(alone)


@torch.library.custom_op("headrace::mean", mutates_args=())
def mean(x: Tensor, lengths: Tensor) -> Tensor:
    """x [tokens, width] → the mean of each row's tokens, [rows, width]."""
    return torch.stack([row.mean(0) for row in x.split_with_sizes(lengths.tolist())])


@torch.library.custom_op("headrace::positions", mutates_args=())
def positions(lengths: Tensor, tokens: Tensor) -> Tensor:
    """Any packed values [tokens, ...] → each token's place in its row, from 0: [tokens] int64."""
    return torch.cat([torch.arange(n, device=tokens.device) for n in lengths.tolist()])


@recurrent.register_fake
def _(
    x: Tensor, lengths: Tensor, h: Tensor, weights: Sequence[Tensor], mode: str, directions: int
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], directions * h.shape[2]), torch.empty_like(h)


@lstm.register_fake
def _(
    x: Tensor,
    lengths: Tensor,
    h: Tensor,
    c: Tensor,
    weights: Sequence[Tensor],
    inverses: Sequence[Tensor],
    directions: int,
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape[0], directions * h.shape[2]), torch.empty_like(h), torch.empty_like(c)


@attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, heads: int) -> Tensor:
    return torch.empty_like(v)


@biased_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, bias: Tensor, heads: int) -> Tensor:
    return torch.empty_like(v)


@mean.register_fake
def _(x: Tensor, lengths: Tensor) -> Tensor:
    return x.new_empty(lengths.shape[0], x.shape[1])


@positions.register_fake
def _(lengths: Tensor, tokens: Tensor) -> Tensor:
    return lengths.new_empty(tokens.shape[0])


def run_packed(
    x: Tensor, lengths: Tensor, start: tuple[Tensor, ...], weights: Sequence[Tensor], mode: str, directions: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The stock kernel over a torch-packed batch: time-major, longest row first. State [rows, layers, width]."""
    packed = pack_sequence(list(x.split_with_sizes(lengths.tolist())), enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    assert order is not None and back is not None
    hx: Any = tuple(s[order].transpose(0, 1).contiguous() for s in start)  # each [layers, rows, width]
    layers = start[0].shape[1] // directions
    bias = len(weights) >= 4 * layers * directions  # of a layer: w_ih, w_hh, both biases or none, w_hr or none
    run = KERNELS[mode]
    hx = hx if mode == "LSTM" else hx[0]
    y, *end = run(packed.data, packed.batch_sizes, hx, list(weights), bias, layers, 0.0, False, directions == 2)
    rows = unpack_sequence(PackedSequence(y, packed.batch_sizes, order, back))  # each [time, width]
    return torch.cat(rows), tuple(s.transpose(0, 1)[back].contiguous() for s in end)
