"""An encoder-decoder Transformer: a source, read whole, and its translation, written token by token."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from headrace.spec import PAST, Cache, Chunk, Generation, Input, ModelSpec, Output, Start, Text

from ..cached import CachedAttention, CrossAttention, Rotary, filled, fresh
from ..ragged import RaggedAttention, State
from .base import SequenceModel
from .decoder import embedding, feed_forward, narrow


class StartedModel(SequenceModel):
    """A model whose sequences begin with a source: what it makes of that is the first state."""

    @abstractmethod
    def encode(self, source: Tensor, lengths: Tensor) -> State:
        """source [tokens] ids, lengths [rows] → keys and values of the filled caches, each [tokens, heads, width]."""

    def start(self, source: Tensor, lengths: Tensor) -> State:
        """source [tokens] ids, lengths [rows] → the state before the first step."""
        growing = [cache for cache in self.describe("fresh").caches if not cache.filled]
        return fresh(growing, len(lengths)) | filled(self.encode(source, lengths), lengths)


class Translator(StartedModel):
    """Source ids → encoder → keys and values; target ids → decoder with cross-attention → logits of the next one.

    Vaswani et al. 2017, figure 1, with norms before the sublayers (Xiong et al. 2020); queries and keys are
    turned (Su et al. 2021), between source and target too: how far a letter is from the place that is written tells
    much. Symbol 0 of the target begins and ends a translation; written, `separator` stands between two symbols.
    """

    def __init__(
        self,
        source: str,
        symbols: list[str],
        width: int,
        heads: int,
        encoder: int,
        decoder: int,
        longest: int,
        dropout: float = 0.0,
        separator: str = " ",
    ) -> None:
        super().__init__()
        self.source, self.symbols, self.longest = tuple(source), tuple(symbols), longest
        self.separator = separator
        self.read = embedding(len(source), width)
        self.encoder = nn.ModuleList(SourceLayer(width, heads, encoder, dropout) for _ in range(encoder))
        self.norm_source = nn.LayerNorm(width)
        self.embed = embedding(len(symbols), width)
        self.rotary = Rotary(width // heads)
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, k, decoder, dropout) for k in range(decoder))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(symbols))

    def encode(self, source: Tensor, lengths: Tensor) -> State:
        x = self.read(source)  # [tokens, width]
        turns = self.rotary.angles(lengths, torch.zeros_like(lengths), x)
        for layer in self.encoder:
            x = layer(x, lengths, self.rotary, turns)
        x, cells = self.norm_source(x), State()
        for layer in self.decoder:
            assert isinstance(layer, DecoderLayer)
            cells |= layer.cells(x, self.rotary, turns)
        return cells

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [tokens] ids of the target so far, the first of them 0 → logits of the next one [tokens, symbols]."""
        x = self.embed(x)  # [tokens, width]
        turns, end = self.rotary.angles(lengths, state[PAST], x), {**state, PAST: state[PAST] + lengths}
        for layer in self.decoder:
            x, kept = layer(x, lengths, state, self.rotary, turns)
            end |= kept
        return self.head(self.norm(x)), end

    def initial_state(self, rows: int) -> State:
        """That of an empty source would be no state at all: see `start`."""
        raise ValueError("a translation begins with its source: use `start`")

    def describe(self, name: str) -> ModelSpec:
        count = len(self.symbols)
        letters = Input(name="source", dtype="int64", vocabulary=len(self.source))
        return ModelSpec(
            name=name,
            task="translate a source, token by token",
            inputs=(Input(name="tokens", dtype="int64", vocabulary=count),),
            outputs=(Output(name="logits", dtype="float32", shape=(count,), time=True, labels=self.symbols),),
            caches=tuple(p.cache for p in self.modules() if isinstance(p, CachedAttention | CrossAttention)),
            longest=self.longest,
            start=Start(inputs=(letters,), longest=self.longest, text=Text(symbols=self.source)),
            chunk=Chunk(longest=self.longest),
            text=Text(symbols=self.symbols, separator=self.separator),
            generation=Generation(output="logits", begin=0, end=0),
        )


class SourceLayer(nn.Module):
    """Attention to the whole source, then a feed-forward block on each token, both with a residual around them."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.project_in = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.attend, self.project_out = RaggedAttention(heads), narrow(nn.Linear(width, width), layers)
        self.feed = feed_forward(width, layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor, rotary: Rotary, turns: tuple[Tensor, Tensor]) -> Tensor:
        """x [tokens, width], lengths [rows] → [tokens, width]."""
        q, k, v = self.project_in(self.norm(x)).chunk(3, -1)  # each [tokens, width]
        x = x + self.dropout(self.project_out(self.attend(rotary(q, turns), rotary(k, turns), v, lengths)))
        fed: Tensor = self.dropout(self.feed(x))
        return x + fed


class DecoderLayer(nn.Module):
    """Attention to the target so far, then to the source, then a feed-forward block, all with a residual around."""

    def __init__(self, width: int, heads: int, number: int, layers: int, dropout: float) -> None:
        super().__init__()
        size = width // heads
        self.norm, self.project_in = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.attend = CachedAttention(Cache(name=f"self{number}", heads=heads, width=size))
        self.project_out = narrow(nn.Linear(width, width), layers)
        self.norm_cross, self.query = nn.LayerNorm(width), nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.look = CrossAttention(Cache(name=f"cross{number}", heads=heads, width=size, filled=True))
        self.cross_out = narrow(nn.Linear(width, width), layers)
        self.feed = feed_forward(width, layers)
        self.dropout = nn.Dropout(dropout)

    def cells(self, x: Tensor, rotary: Rotary, turns: tuple[Tensor, Tensor]) -> State:
        """x [tokens, width], the encoded source → its keys and values, each [tokens, heads, width / heads]."""
        cache, (keys, values) = self.look.cache, self.keys_values(x).chunk(2, -1)
        shape = (x.shape[0], cache.heads, cache.width)
        return {cache.keys: rotary(keys, turns).view(shape), cache.values: values.reshape(shape)}

    def forward(
        self, x: Tensor, lengths: Tensor, state: State, rotary: Rotary, turns: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, State]:
        """x [tokens, width] → the same, and the tensors of its growing cache."""
        q, k, v = self.project_in(self.norm(x)).chunk(3, -1)  # each [tokens, width]
        y, kept = self.attend(rotary(q, turns), rotary(k, turns), v, lengths, state)
        x = x + self.dropout(self.project_out(y))
        query = rotary(self.query(self.norm_cross(x)), turns)  # [tokens, width]
        x = x + self.dropout(self.cross_out(self.look(query, lengths, state)))
        return x + self.dropout(self.feed(x)), kept
