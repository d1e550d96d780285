"""A Transformer encoder that classifies whole sequences: stateless, padding-free but for attention."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from headrace.spec import Chunk, Input, ModelSpec, Output

from ..ragged import RaggedAttention, RaggedMean, RaggedPositions, State
from .base import SequenceModel
from .parts import RaggedWeights, Standardise

LONGEST = 512

#: Longest sequence of a model that shows its attention weights: as many are given for every token.
SHOWN = 64


class EncoderClassifier(SequenceModel):
    """Raw values → encoder layers → mean over each row → log-probabilities of the classes, one answer a row.

    Sinusoidal positions (Vaswani et al. 2017, section 3.5), multi-head attention (section 3.2), norms before the
    sublayers (Xiong et al. 2020). `weights`: whether the attention weights of all layers are a second output. They
    have no parameters of their own: a checkpoint trained without them shows them as well.
    """

    def __init__(
        self,
        features: int,
        width: int,
        heads: int,
        layers: int,
        labels: list[str],
        dropout: float = 0.0,
        weights: bool = False,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.labels = tuple(labels)
        self.features, self.heads = features, heads
        self.standardise = Standardise(features)
        self.embed = nn.Linear(features, width)
        self.positions = Sinusoids(width)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.mean = RaggedMean()
        self.head = nn.Linear(width, len(labels))

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Any, State]:
        """x [tokens, features] in raw units, whole sequences → log-probabilities [rows, classes].

        With `weights` also those of each token to the places of its row: [tokens, layers, heads, SHOWN].
        """
        x = self.embed(self.standardise(x))  # [tokens, width]
        x = x + self.positions(x, lengths)
        shown = []
        for layer in self.layers:
            assert isinstance(layer, EncoderLayer)
            if self.weights:
                shown.append(layer.weights(x, lengths))
            x = layer(x, lengths)
        y = self.head(self.mean(self.norm(x), lengths)).log_softmax(-1)
        return ((y, torch.stack(shown, 1)) if self.weights else y), state

    def describe(self, name: str) -> ModelSpec:
        classes, of = (len(self.labels),), (len(self.layers), self.heads, SHOWN)
        answer = Output(name="log_probabilities", dtype="float32", shape=classes, time=False, labels=self.labels)
        weights = Output(name="weights", dtype="float32", shape=of, time=True)
        return ModelSpec(
            name=name,
            task="classify sequences, one answer for each",
            inputs=(Input(name="values", dtype="float32", shape=(self.features,)),),
            outputs=(answer, weights) if self.weights else (answer,),
            chunk=Chunk(longest=SHOWN if self.weights else LONGEST, whole=True),
        )


class EncoderLayer(nn.Module):
    """Attention within each row, then a feed-forward block on each token, both with a residual around them."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attend, self.look = RaggedAttention(heads), RaggedWeights(heads, SHOWN)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x [tokens, width], lengths [rows] → [tokens, width]."""
        q, k, v = self.project_in(self.norm_attention(x)).chunk(3, -1)  # each [tokens, width]
        x = x + self.dropout(self.project_out(self.attend(q, k, v, lengths)))
        fed: Tensor = self.dropout(self.feed(self.norm_forward(x)))
        return x + fed

    def weights(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x [tokens, width], lengths [rows] → the attention weights within, [tokens, heads, SHOWN]."""
        q, k, _ = self.project_in(self.norm_attention(x)).chunk(3, -1)  # each [tokens, width]
        shown: Tensor = self.look(q, k, lengths)
        return shown


class Sinusoids(nn.Module):
    """Sines, then cosines, of each token's place in its row; wavelengths from 2π to 20,000π."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.places = RaggedPositions()
        exponents = torch.arange(width // 2) * (-2 * math.log(10_000.0) / width)
        self.register_buffer("frequencies", exponents.exp())  # [width / 2]

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x [tokens, width], lengths [rows] → [tokens, width]."""
        angles = self.places(lengths, x)[:, None] * self.frequencies  # [tokens, width / 2]
        return torch.cat([angles.sin(), angles.cos()], -1)
