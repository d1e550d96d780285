"""Tokens of texts that go on side by side, chosen call by call of the model and told together, many at a time."""

from __future__ import annotations

import math

import numpy as np

from ..steps import Array, Rows, holds
from .outbox import Outbox
from .philox import uniforms
from .sampling import Floats, choose_by
from .stops import Tail, Told
from .symbols import Symbols
from .table import Table

DRAWN = 16
"""Tokens for which numbers are drawn at once."""


class Ahead:
    """Rows of the table that write, and were told a token before. Only tokens that are no more than that are taken: one
    that ends a text, or may begin a string that does, is left to the turn that hears of the last of these calls.

    output: which output of the model has the logits; end: the token that ends a text; longest: tokens of a sequence.

    Mutable: `tokens` [rows] of each call so far, of which those of the first `_told` are told; `_positions` [rows],
    where the next ones stand; `_drawn`, [rows, DRAWN] numbers for these and for those behind; and the table's column
    `seen`, by which tokens are chosen. What else the table knows changes when the tokens are told.
    """

    def __init__(self, table: Table, symbols: Symbols, rows: Rows, output: int, end: int, longest: int) -> None:
        self._table, self._symbols, self._rows, self._output, self._end = table, symbols, rows, output, end
        self._how, self._positions = table.settings.take(rows), table.position[rows]
        self._likeliest = bool(((self._how.temperature == 0) & (self._how.penalty == 1)).all())
        self._places = np.arange(len(rows))
        self._drawn: Floats = np.zeros((len(rows), DRAWN))
        self._texts = [table.text(row) for row in rows.tolist()]
        self._tails = [(at, text.tail) for at, text in enumerate(self._texts) if text.tail is not None]
        self.most = int(min(table.left[rows].min() - 1, longest - self._positions.max()))
        self.tokens: list[Rows] = []
        self._told = 0

    def __repr__(self) -> str:
        return f"Ahead(rows={len(self._rows)}, count={self.count})"

    @property
    def count(self) -> int:
        """Tokens of each row."""
        return len(self.tokens)

    def next(self, outputs: tuple[Array, ...]) -> Rows | None:
        """outputs: of the model, [rows, ...] → [rows] the next tokens; None if one is more than that."""
        tokens = self._choose(outputs[self._output])
        if tokens is None:
            return None
        ends = self._end >= 0 and np.count_nonzero(tokens == self._end)
        return None if ends or not all(self._passes(tail, int(tokens[at])) for at, tail in self._tails) else tokens

    def take(self, tokens: Rows) -> None:
        """The model has run with them."""
        self.tokens.append(tokens)
        self._table.seen[self._rows, tokens] = True
        self._positions += 1

    def tell(self, to: Outbox, now: float) -> None:
        """What was added to each text since this was asked last."""
        fresh, self._told = self.tokens[self._told :], self.count
        if not fresh:
            return
        self._table.written(self._rows, len(fresh), now)
        for text, tokens in zip(self._texts, np.stack(fresh, axis=1).tolist(), strict=True):
            added = [self._symbols.of(token, goes_on=True) for token in tokens]
            to.add(text.sink, text.key, Told(tuple(tokens), "".join(added)), None)

    def _choose(self, logits: Array) -> Rows | None:
        """[rows] tokens, None if some logits are not finite."""
        if self._likeliest:
            tokens: Rows = logits.argmax(axis=1)  # NaN where there is one
            return tokens if math.isfinite(np.add.reduce(logits[self._places, tokens])) else None
        if not holds(np.isfinite(logits.max(axis=1))):
            return None
        return choose_by(logits, self._table.seen[self._rows], self._how, self._draw())

    def _draw(self) -> Floats:
        """[rows] numbers for the next tokens: to draw one of each costs as much as to draw several."""
        place = self.count % DRAWN
        if not place:
            positions = self._positions[:, None] + np.arange(DRAWN)  # [rows, drawn]
            drawn = uniforms(np.repeat(self._how.seeds, DRAWN), positions.reshape(-1))
            self._drawn = drawn.reshape(-1, DRAWN)
        numbers: Floats = self._drawn[:, place]
        return numbers

    def _passes(self, tail: Tail, token: int) -> bool:
        return tail.passes(self._symbols.of(token, goes_on=True))
