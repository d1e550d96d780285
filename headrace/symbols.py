"""Text → token ids, by the symbols that a spec lists."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput
from .parts import Text

#: Characters of a text, and symbols of a model, that an error shows.
SHOWN = 60

#: The id of a character that is no symbol.
NONE = -1


class Symbols:
    """Reads texts of one model: by their separator, or else the longest symbol that fits, from the left."""

    def __init__(self, text: Text) -> None:
        self._ids = {symbol: token for token, symbol in enumerate(text.symbols) if symbol}
        self._sizes = sorted({len(symbol) for symbol in self._ids}, reverse=True)
        self._separator = text.separator
        plain = self._sizes == [1] and not self._separator
        self._by_code = _by_code(self._ids) if plain else None

    def __repr__(self) -> str:
        return f"Symbols({len(self._ids)})"

    def tokens(self, text: str) -> NDArray[np.int64]:
        """[time] ids. Raises InvalidInput for what no symbol fits."""
        if self._by_code is not None:
            return self._looked_up(self._by_code, text)
        try:
            return np.array([self._ids[piece] for piece in self._pieces(text)], np.int64)
        except KeyError as unknown:
            raise self._unknown(unknown.args[0], text) from None

    @property
    def longest(self) -> int:
        """Characters of a token at most, with what parts it from others."""
        return max(self._sizes, default=0) + len(self._separator)

    def _looked_up(self, by_code: NDArray[np.int64], text: str) -> NDArray[np.int64]:
        """Of symbols of one character: a prompt may have millions."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")  # [time]
        ids: NDArray[np.int64] = by_code[np.minimum(codes, len(by_code) - 1)]
        if np.count_nonzero(unknown := ids == NONE):
            raise self._unknown(text[int(unknown.argmax())], text)
        return ids

    def _pieces(self, text: str) -> list[str] | Iterator[str]:
        if self._separator:
            return text.split(self._separator) if text else []
        return self._longest(text)

    def _longest(self, text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            fitting = (piece for size in self._sizes if (piece := text[at : at + size]) in self._ids)
            piece = next(fitting, text[at])
            yield piece
            at += len(piece)

    def _unknown(self, piece: str, text: str) -> InvalidInput:
        shown, known = repr(text[:SHOWN]), " ".join(map(repr, list(self._ids)[:SHOWN]))
        parted = f", separated by {self._separator!r}" if self._separator else ""
        more = " …" if len(self._ids) > SHOWN else ""
        return InvalidInput(f"the model has no symbol {piece[:SHOWN]!r}, in {shown}; it has {known}{more}{parted}")


def _by_code(ids: dict[str, int]) -> NDArray[np.int64]:
    """Token ids by code points; the last cell stands for all beyond."""
    table = np.full(max(map(ord, ids)) + 2, NONE, np.int64)
    table[list(map(ord, ids))] = list(ids.values())
    return table
