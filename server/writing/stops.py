"""Stop strings: a text ends before the first of them, and nothing of one is ever told on the way."""

from __future__ import annotations

from typing import NamedTuple


class Told(NamedTuple):
    """What of a text is decided: its next tokens and the symbols of them; `stopped`: nothing more comes.

    Where a stop string begins within a token's symbol, the text ends in the midst of it, and the token is none of it.
    """

    tokens: tuple[int, ...]
    text: str
    stopped: bool = False

    def then(self, other: Told) -> Told:
        return Told(self.tokens + other.tokens, self.text + other.text, other.stopped)


class Tail:
    """The end of one text, as far as it may be the beginning of a stop string: whole tokens.

    stop: the strings, none of them empty. Without any nothing is held back.
    Mutable: `_tokens` and `_symbols` that are held back, one symbol for each token.
    """

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop, self._longest = stop, max(map(len, stop), default=0)
        self._first = frozenset(s[0] for s in stop)
        self._tokens: list[int] = []
        self._symbols: list[str] = []

    def add(self, token: int, symbol: str) -> Told:
        """symbol: what the token adds to the text."""
        if self.passes(symbol):  # mostly; the rest would come to the same
            return Told((token,), symbol)
        self._tokens.append(token)
        self._symbols.append(symbol)
        text = "".join(self._symbols)
        found = min((at for s in self._stop if (at := text.find(s)) >= 0), default=None)
        if found is not None:
            return Told(self._take(found).tokens, text[:found], stopped=True)
        return self._take(self._undecided(text))

    def passes(self, symbol: str) -> bool:
        """Whether a token with this symbol would be told at once: nothing is held back, and no stop string begins."""
        return not self._tokens and self._first.isdisjoint(symbol)

    def rest(self) -> Told:
        """All that is held back; for a text that ends otherwise."""
        told = Told(tuple(self._tokens), "".join(self._symbols))
        self._tokens, self._symbols = [], []
        return told

    def _undecided(self, text: str) -> int:
        """Where the longest end of the text begins that is the beginning of a stop string."""
        first = max(0, len(text) - self._longest + 1)
        held = (at for at in range(first, len(text)) if any(s.startswith(text[at:]) for s in self._stop))
        return next(held, len(text))

    def _take(self, end: int) -> Told:
        """The tokens whose symbols lie before this place of what is held back."""
        count = length = 0
        for symbol in self._symbols:
            if length + len(symbol) > end:
                break
            length, count = length + len(symbol), count + 1
        told = Told(tuple(self._tokens[:count]), "".join(self._symbols[:count]))
        self._tokens, self._symbols = self._tokens[count:], self._symbols[count:]
        return told
