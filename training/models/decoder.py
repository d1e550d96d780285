"""A decoder-only Transformer over the characters of a text: what comes next, after every character."""

from __future__ import annotations

import math

from torch import Tensor, nn

from headrace.spec import PAST, Cache, Chunk, Generation, Input, ModelSpec, Output, Text

from ..cached import CachedAttention, Rotary, fresh
from ..ragged import State
from .base import SequenceModel

NEXT = "predict the next character"


class Decoder(SequenceModel):
    """Token ids → blocks of causal attention → logits of the next token (Radford et al. 2018).

    Norms stand before the sublayers (Xiong et al. 2020); places are told by turning queries and keys (Su et al. 2021).
    A picture is a text too: whatever can be written in `symbols` can be learnt. No sequence is over `longest` tokens;
    with a `window`, each token sees so many, its own among them, and `longest` may be None: a text can go on for ever.
    """

    def __init__(
        self,
        symbols: str,
        width: int,
        heads: int,
        layers: int,
        longest: int | None,
        dropout: float = 0.0,
        task: str = NEXT,
        window: int | None = None,
    ) -> None:
        super().__init__()
        chunk = longest or window
        if chunk is None:
            raise ValueError("a decoder whose sequences have no end needs a window")
        self.symbols, self.longest, self.chunk, self.task = tuple(symbols), longest, chunk, task
        self.embed = embedding(len(symbols), width)
        self.rotary = Rotary(width // heads)
        caches = [Cache(name=f"layer{k}", heads=heads, width=width // heads, window=window) for k in range(layers)]
        self.blocks = nn.ModuleList(Block(width, cache, layers, dropout) for cache in caches)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(symbols))

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [tokens] ids → logits [tokens, symbols]."""
        x = self.embed(x)  # [tokens, width]
        turns, end = self.rotary.angles(lengths, state[PAST], x), {**state, PAST: state[PAST] + lengths}
        for block in self.blocks:
            x, kept = block(x, lengths, state, self.rotary, turns)
            end |= kept
        return self.head(self.norm(x)), end

    def initial_state(self, rows: int) -> State:
        return fresh(self.caches, rows)

    @property
    def caches(self) -> tuple[Cache, ...]:
        return tuple(part.cache for part in self.modules() if isinstance(part, CachedAttention))

    def describe(self, name: str) -> ModelSpec:
        count = len(self.symbols)
        return ModelSpec(
            name=name,
            task=self.task,
            inputs=(Input(name="tokens", dtype="int64", vocabulary=count),),
            outputs=(Output(name="logits", dtype="float32", shape=(count,), time=True, labels=self.symbols),),
            caches=self.caches,
            longest=self.longest,
            chunk=Chunk(longest=self.chunk),
            text=Text(symbols=self.symbols),
            generation=Generation(output="logits"),
        )


class Block(nn.Module):
    """Attention to the row so far, then a feed-forward block on each token, both with a residual around them."""

    def __init__(self, width: int, cache: Cache, layers: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.project_in = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.attend, self.project_out = CachedAttention(cache), narrow(nn.Linear(width, width), layers)
        self.feed = feed_forward(width, layers)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, lengths: Tensor, state: State, rotary: Rotary, turns: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, State]:
        """x [tokens, width] → the same, and the tensors of its cache."""
        q, k, v = self.project_in(self.norm(x)).chunk(3, -1)  # each [tokens, width]
        y, kept = self.attend(rotary(q, turns), rotary(k, turns), v, lengths, state)
        x = x + self.dropout(self.project_out(y))
        return x + self.dropout(self.feed(x)), kept


def feed_forward(width: int, layers: int) -> nn.Sequential:
    """Norm and the two linear layers behind it, [tokens, width] → [tokens, width]."""
    last = narrow(nn.Linear(4 * width, width), layers)
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), last)


def narrow(last: nn.Linear, layers: int) -> nn.Linear:
    """The last layer of a residual branch, so that all branches together add what one would (Radford et al. 2019)."""
    last.weight.data /= math.sqrt(2 * layers)
    return last


def embedding(count: int, width: int) -> nn.Embedding:
    """Vectors as small as the branches of the first layers, or those would be drowned."""
    made = nn.Embedding(count, width)
    nn.init.normal_(made.weight, std=width**-0.5)
    return made
