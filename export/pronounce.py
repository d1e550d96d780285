"""Words to phones, by an exported model of the task `g2p` and a plain loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.errors import ConfigurationError, InvalidInput

from .decode import Decoding, Loop, likeliest


class Pronouncer:
    """`g2p("headrace")` → ("HH", "EH", "D", "R", "EY", "S"), for a `Pronouncer(Loop.load(file))` named g2p."""

    def __init__(self, loop: Loop) -> None:
        """Raises ConfigurationError if the model does not begin with a text."""
        if loop.spec.start is None or loop.spec.start.text is None:
            raise ConfigurationError(f"{loop.spec.name} does not read words: it has no start graph for a text")
        self._loop, self._letters = loop, loop.spec.start.text.symbols
        self._symbols = loop.spec.outputs[0].labels

    def __call__(self, word: str) -> tuple[str, ...]:
        """The likeliest phone at every step. Raises InvalidInput for other letters than the model's."""
        return self.all([word])[0]

    def all(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        """The same for many words at once."""
        decoding, longest = self._loop.begin([self._ids(word) for word in words]), self._loop.spec.longest or 0
        phones = np.zeros((len(words), 1), np.int64)  # each begins with the symbol that ends it
        while phones.shape[1] <= longest and not (phones[:, 1:] == 0).any(1).all():
            phones = np.concatenate([phones, _next(decoding, phones[:, -1:])], 1)
        return [tuple(self._symbols[k] for k in row[: _end(row)]) for row in phones[:, 1:]]

    def _ids(self, word: str) -> NDArray[np.int64]:
        told = word.strip().lower()
        if not told or set(told) - set(self._letters):
            raise InvalidInput(f"a word is written with {''.join(self._letters)}, not {word!r}")
        return np.array([self._letters.index(letter) for letter in told], np.int64)


def _next(decoding: Decoding, last: NDArray[np.int64]) -> NDArray[np.int64]:
    """last [rows, 1] → [rows, 1]."""
    return likeliest(decoding.step(list(last)))[:, None]


def _end(row: NDArray[np.int64]) -> int:
    ends = np.flatnonzero(row == 0)
    return int(ends[0]) if len(ends) else len(row)
