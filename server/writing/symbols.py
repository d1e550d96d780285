"""What a token adds to a text."""

from __future__ import annotations

from headrace.spec import ModelSpec


class Symbols:
    """A model's symbols, and the same behind a separator; those of a model without any are empty."""

    def __init__(self, spec: ModelSpec) -> None:
        given = spec.text.symbols if spec.text else ()
        separator = spec.text.separator if spec.text else ""
        missing = ("",) * ((spec.inputs[0].vocabulary or 0) - len(given))
        self._first = (*given, *missing)
        self._further = (*(separator + symbol for symbol in given), *missing)

    def of(self, token: int, *, goes_on: bool) -> str:
        """goes_on: whether other symbols of the text, or of its prompt, stand before it."""
        return self._further[token] if goes_on else self._first[token]
