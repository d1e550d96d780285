"""Texts are read as their symbols."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidInput
from headrace.spec import Text
from headrace.symbols import Symbols

LETTERS = Symbols(Text(symbols=("a", "b", "", "\n")))
PIECES = Symbols(Text(symbols=("a", "ab", "b", "abc")))
PHONES = Symbols(Text(symbols=(".", "AH", "AH0", "L"), separator=" "))


@pytest.mark.parametrize(
    ("symbols", "text", "tokens"),
    [
        (LETTERS, "", []),
        (LETTERS, "ab\nb", [0, 1, 3, 1]),
        (PIECES, "abcabba", [3, 1, 2, 0]),
        (PHONES, "", []),
        (PHONES, "AH0 L AH", [2, 3, 1]),
        (PHONES, "L", [3]),
    ],
)
def test_the_longest_symbol_that_fits_is_taken(symbols: Symbols, text: str, tokens: list[int]) -> None:
    ids = symbols.tokens(text)
    assert ids.tolist() == tokens and ids.dtype == "int64"


@pytest.mark.parametrize(
    ("symbols", "text", "unknown"),
    [
        (LETTERS, "axb", "'x'"),
        (LETTERS, "a\U0001f600", "'\U0001f600'"),
        (PIECES, "abd", "'d'"),
        (PHONES, "AH1 L", "'AH1'"),
        (PHONES, "AH  L", "''"),
    ],
)
def test_what_no_symbol_fits_is_named(symbols: Symbols, text: str, unknown: str) -> None:
    with pytest.raises(InvalidInput, match=f"no symbol {unknown}"):
        symbols.tokens(text)


def test_an_error_shows_a_part_of_what_is_long() -> None:
    many = Symbols(Text(symbols=tuple(map(chr, range(200, 600)))))
    with pytest.raises(InvalidInput) as refused:
        many.tokens("a" * 10_000)
    assert len(str(refused.value)) < 700 and "…" in str(refused.value)
