"""Operators between packed tokens and the padded tensors of a user's module, [rows, time, ...], and on those.

`times` [time] is 0, 1, … up to the longest row: traced as an input, so that the time axis of the padded tensors has a
symbol of its own; computed from the lengths in the finished graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .ops import run_packed


@torch.library.custom_op("headrace::pad", mutates_args=())
def pad(x: Tensor, lengths: Tensor, times: Tensor) -> Tensor:
    """x [tokens, ...] → [rows, time, ...]; past its end a row repeats its own last token."""
    at = torch.minimum(times, lengths[:, None] - 1) + (lengths.cumsum(0) - lengths)[:, None]  # [rows, time]
    return x[at]


@torch.library.custom_op("headrace::unpad", mutates_args=())
def unpad(x: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
    """x [rows, time, ...] and any packed values → the rows' own time steps, [tokens, ...]."""
    return torch.cat([row[:n] for row, n in zip(x, lengths.tolist(), strict=True)])


@torch.library.custom_op("headrace::last", mutates_args=())
def last(x: Tensor, lengths: Tensor, rows: int, time: int) -> Tensor:
    """What `x.select(time, -1)` means for rows of different lengths: each one's own last time step.

    rows, time: which axes of x they are.
    """
    there = x.movedim((rows, time), (0, 1))[torch.arange(len(lengths)), lengths - 1]  # [rows, ...]
    return there.movedim(0, rows - (time < rows)).contiguous()


@torch.library.custom_op("headrace::by_row", mutates_args=())
def by_row(x: Tensor, lengths: Tensor) -> Tensor:
    """x [tokens, ...], of rows that are all one time step long → [rows, ...]."""
    return x[lengths.cumsum(0) - lengths]


@torch.library.custom_op("headrace::by_token", mutates_args=())
def by_token(x: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
    """x [rows, ...] and any packed values → of each token its row's, [tokens, ...]."""
    return x.repeat_interleave(lengths, 0)


@torch.library.custom_op("headrace::padded_recurrent", mutates_args=())
def padded_recurrent(
    x: Tensor, lengths: Tensor, h: Tensor, weights: Sequence[Tensor], mode: str, directions: int
) -> tuple[Tensor, Tensor]:
    """`headrace::recurrent` of x [rows, time, features] → y [rows, time, directions * hidden]."""
    y, (end,) = _run(x, lengths, (h,), weights, mode, directions)
    return y, end


@torch.library.custom_op("headrace::padded_lstm", mutates_args=())
def padded_lstm(
    x: Tensor,
    lengths: Tensor,
    h: Tensor,
    c: Tensor,
    weights: Sequence[Tensor],
    inverses: Sequence[Tensor],
    directions: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """`headrace::lstm` of x [rows, time, features] → y [rows, time, directions * width]."""
    y, (end, cell) = _run(x, lengths, (h, c), weights, "LSTM", directions)
    return y, end, cell


@pad.register_fake
def _(x: Tensor, lengths: Tensor, times: Tensor) -> Tensor:
    return x.new_empty(lengths.shape[0], times.shape[0], *x.shape[1:])


@unpad.register_fake
def _(x: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
    return x.new_empty(tokens.shape[0], *x.shape[2:])


@last.register_fake
def _(x: Tensor, lengths: Tensor, rows: int, time: int) -> Tensor:
    return x.new_empty([size for axis, size in enumerate(x.shape) if axis != time])


@by_row.register_fake
def _(x: Tensor, lengths: Tensor) -> Tensor:
    return x.new_empty(lengths.shape[0], *x.shape[1:])


@by_token.register_fake
def _(x: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
    return x.new_empty(tokens.shape[0], *x.shape[1:])


@padded_recurrent.register_fake
def _(
    x: Tensor, lengths: Tensor, h: Tensor, weights: Sequence[Tensor], mode: str, directions: int
) -> tuple[Tensor, Tensor]:
    return x.new_empty(*x.shape[:2], directions * h.shape[2]), torch.empty_like(h)


@padded_lstm.register_fake
def _(
    x: Tensor,
    lengths: Tensor,
    h: Tensor,
    c: Tensor,
    weights: Sequence[Tensor],
    inverses: Sequence[Tensor],
    directions: int,
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(*x.shape[:2], directions * h.shape[2]), torch.empty_like(h), torch.empty_like(c)


def _run(
    x: Tensor, lengths: Tensor, start: tuple[Tensor, ...], weights: Sequence[Tensor], mode: str, directions: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """On the rows' own time steps; y is zero past their ends."""
    valid = torch.arange(x.shape[1]) < lengths[:, None]  # [rows, time]
    packed, ends = run_packed(x[valid], lengths, start, weights, mode, directions)
    y = x.new_zeros(*valid.shape, packed.shape[-1])
    y[valid] = packed
    return y, ends
