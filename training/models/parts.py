"""Parts that several models share, all on packed tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
