"""Parts that several models share, all on packed tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..ragged import RaggedPositions


class Standardise(nn.Module):
    """Takes raw units to zero mean and unit variance, so that clients never need to know the training data."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def fit(self, values: Tensor) -> None:
        """Measures mean and deviation on values [tokens, features] of the training part."""
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0).clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """x [tokens, features] → the same, standardised."""
        return (x - self.mean) / self.std

    def back(self, z: Tensor) -> Tensor:
        """The reverse of `forward`."""
        return z * self.std + self.mean


class RaggedWindow(nn.Module):
    """Each time step with the `width` - 1 before it, as far back as its row's own past reaches; `width` is 2 or more.

    With a filter behind it this is a causal convolution over each row, carried on from step to step.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.places = RaggedPositions()

    def forward(self, x: Tensor, lengths: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """x [tokens, ...], past [rows, width - 1, ...] → windows [tokens, width, ...], oldest first, and the new past.

        A window is found by index in the tokens and, behind them, the pasts of all rows.
        """
        tokens, place = x.shape[0], self.places(lengths, x)[:, None]  # [tokens, 1] in its own row
        token = torch.arange(tokens, device=x.device)[:, None]
        behind = (place == 0).long().cumsum(0) * (self.width - 1)  # [tokens, 1] where the row's past ends
        back = torch.arange(self.width - 1, -1, -1, device=x.device)  # [width] time steps before the token
        index = torch.where(place >= back, token - back, tokens + behind + place - back)  # [tokens, width]
        windows = torch.cat([x, past.flatten(0, 1)])[index]
        return windows, windows[lengths.cumsum(0) - 1, 1:]


class RaggedWeights(nn.Module):
    """How much each token attends to every place of its row: softmax(q kᵀ / √size) (Vaswani et al. 2017, equation 1).

    The weights that attention itself only passes through, for rows of at most `longest` tokens.
    """

    def __init__(self, heads: int, longest: int) -> None:
        super().__init__()
        self.heads, self.longest = heads, longest
        self.places = RaggedPositions()

    def forward(self, q: Tensor, k: Tensor, lengths: Tensor) -> Tensor:
        """q, k [tokens, width], lengths [rows] → [tokens, heads, longest], zero behind the row's end."""
        place = self.places(lengths, q)  # [tokens] in its own row
        first = torch.arange(q.shape[0], device=q.device) - place
        end = lengths[(place == 0).long().cumsum(0) - 1][:, None]  # [tokens, 1] of its row
        others = torch.arange(self.longest, device=q.device)  # [longest] places
        keys = k[first[:, None] + torch.minimum(others, end - 1)]  # [tokens, longest, width]
        size = q.shape[-1] // self.heads
        keys = keys.view(-1, self.longest, self.heads, size).permute(0, 2, 3, 1)  # [tokens, heads, size, longest]
        scores = (q.view(-1, self.heads, 1, size) @ keys).squeeze(2) / math.sqrt(size)  # [tokens, heads, longest]
        return scores.masked_fill((others >= end)[:, None], -math.inf).softmax(-1)
