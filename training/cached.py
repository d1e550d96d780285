"""Attention that looks back: to the row's own earlier steps, or to a source, by keys and values that are kept.

Eager, a cache stands in the state as two tensors [rows, cells, heads, width], its keys and its values; PAST and FILLED
[rows] say how many of a row's first cells are in use. Exported, a node names its cache, and no tensor of it is seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from headrace.spec import FILLED, PAST, Cache

from .ragged import RaggedPositions, State


class CachedAttention(nn.Module):
    """Causal attention of each token to all tokens of its row so far (Vaswani et al. 2017, equation 1, masked).

    softmax(q kᵀ / √width) v over the row's cells 0 to p for a token at position p; the new cells are written first.
    With a window of n, over cells p - n + 1 to p alone (Beltagy et al. 2020, section 3.1).
    """

    def __init__(self, cache: Cache) -> None:
        super().__init__()
        self.cache = cache

    def forward(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """q, k, v [tokens, heads * width] → y likewise, and the cache behind this step by the names of its tensors."""
        valid, past = _valid(lengths), state[PAST]
        keys = self._appended(state[self.cache.keys], k, valid, past)
        values = self._appended(state[self.cache.values], v, valid, past)
        queries, mask = _apart(_padded(q, valid), self.cache), _causal(valid, past, keys, self.cache.window)
        y = _packed(_attended(queries, keys, values, mask, causal=mask is None), valid)
        return y, {self.cache.keys: keys, self.cache.values: values}

    def _appended(self, cells: Tensor, new: Tensor, valid: Tensor, past: Tensor) -> Tensor:
        """cells [rows, cells, heads, width] with new [tokens, heads * width] behind its row; longer if need be."""
        fresh = _apart(_padded(new, valid), self.cache)  # [rows, time, heads, width]
        if not cells.shape[1]:
            return fresh
        needed = int((past + valid.sum(1)).max())
        cells = pad(cells, (0, 0, 0, 0, 0, max(0, needed - cells.shape[1]))).clone()
        row, place = valid.nonzero(as_tuple=True)  # each [tokens]
        cells[row, past[row] + place] = fresh[valid]
        return cells


class CrossAttention(nn.Module):
    """Attention of each token to all cells of a cache that the start graph filled: those of the row's source."""

    def __init__(self, cache: Cache) -> None:
        super().__init__()
        self.cache = cache

    def forward(self, q: Tensor, lengths: Tensor, state: State) -> Tensor:
        """q [tokens, heads * width], lengths [rows] → [tokens, heads * width]."""
        valid, keys, values = _valid(lengths), state[self.cache.keys], state[self.cache.values]
        queries = _apart(_padded(q, valid), self.cache)  # [rows, time, heads, width]
        used = torch.arange(keys.shape[1]) < state[FILLED][:, None]  # [rows, cells]
        mask = used[:, None, None, :].expand(-1, 1, valid.shape[1], -1)
        return _packed(_attended(queries, keys, values, None if used.all() else mask, causal=False), valid)


class Rotary(nn.Module):
    """Turns each pair of a head's values by an angle that grows with the position (Su et al. 2021, equation 34).

    The product of a query and a key depends then on their distance, not on where they stand.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.places = RaggedPositions()
        self.register_buffer("frequencies", 10_000.0 ** (-torch.arange(0, width, 2) / width))  # [width / 2]

    def angles(self, lengths: Tensor, past: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """lengths and past [rows], any packed values [tokens, ...] → cosine and sine, both [tokens, 1, width / 2]."""
        place = self.places(lengths, tokens)  # [tokens]
        row = (place == 0).cumsum(0) - 1  # [tokens]
        angles = (place + past[row])[:, None, None] * self.frequencies
        return angles.cos(), angles.sin()

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """x [tokens, heads * width] → the same, turned."""
        cosine, sine = turns
        left, right = x.view(x.shape[0], -1, 2, len(self.frequencies)).unbind(2)  # each [tokens, heads, width / 2]
        return torch.cat([left * cosine - right * sine, left * sine + right * cosine], -1).flatten(1)


def fresh(caches: Sequence[Cache], rows: int) -> State:
    """The state of `rows` sequences before their first step: no cells in use, and none there."""
    cells = {n: torch.zeros(rows, 0, c.heads, c.width) for c in caches for n in (c.keys, c.values)}
    return {PAST: torch.zeros(rows, dtype=torch.int64), **cells}


def filled(packed: State, lengths: Tensor) -> State:
    """Cells of a source by name, each [tokens, heads, width], as the state of filled caches."""
    valid = _valid(lengths)
    return {FILLED: lengths, **{name: _padded(cells, valid) for name, cells in packed.items()}}


def _valid(lengths: Tensor) -> Tensor:
    """[rows, time] whether the padded view's cell holds a token."""
    return torch.arange(int(lengths.max())) < lengths[:, None]


def _padded(x: Tensor, valid: Tensor) -> Tensor:
    """x [tokens, ...] → [rows, time, ...], zero where not valid."""
    if len(x) == valid.numel():
        return x.view(*valid.shape, *x.shape[1:])
    padded = x.new_zeros(*valid.shape, *x.shape[1:])
    padded[valid] = x
    return padded


def _apart(x: Tensor, cache: Cache) -> Tensor:
    """x [rows, time, heads * width] → [rows, time, heads, width]."""
    return x.view(*x.shape[:2], -1, cache.width)


def _packed(y: Tensor, valid: Tensor) -> Tensor:
    """y [rows, time, ...] → [tokens, ...]."""
    return y.flatten(0, 1) if valid.all() else y[valid]


def _causal(valid: Tensor, past: Tensor, cells: Tensor, window: int | None) -> Tensor | None:
    """[rows, 1, time, cells] which cells a token sees: its own and those before. None for plain causal attention."""
    if cells.shape[1] == valid.shape[1] and not past.any() and (window is None or window >= cells.shape[1]):
        return None
    at = (past[:, None] + torch.arange(valid.shape[1]))[..., None]  # [rows, time, 1]
    cell = torch.arange(cells.shape[1])
    seen = cell <= at if window is None else (cell <= at) & (cell > at - window)  # [rows, time, cells]
    return seen[:, None]


def _attended(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
    """queries [rows, time, heads, width], keys and values [rows, cells, heads, width] → [rows, time, heads * width]."""
    q, k, v = (t.transpose(1, 2) for t in (queries, keys, values))  # [rows, heads, …, width]
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal).transpose(1, 2).flatten(2)
