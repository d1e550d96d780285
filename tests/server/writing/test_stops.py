"""Stop strings, token by token, against a search of the whole text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.server.writing.stops import Tail, Told

from .reference import stopped

SYMBOLS = st.sampled_from(["a", "b", "ab", "aba", "", "b a", "."])
TEXTS = st.lists(SYMBOLS, max_size=14)
STOPS = st.lists(st.text("ab .", min_size=1, max_size=4), max_size=3).map(tuple)


@given(TEXTS, STOPS)
def test_a_text_ends_before_the_first_stop_string(symbols: list[str], stop: tuple[str, ...]) -> None:
    tail, told = Tail(stop), Told((), "")
    for token, symbol in enumerate(symbols):
        told = told.then(tail.add(token, symbol))
        if told.stopped:
            break
    found = stopped(symbols, stop)
    if found is None:
        assert not told.stopped
        assert told.then(tail.rest()) == Told(tuple(range(len(symbols))), "".join(symbols))
    else:
        assert told == Told(tuple(range(found[0])), found[1], stopped=True)


@given(TEXTS, STOPS)
def test_no_more_is_held_back_than_may_begin_a_stop_string(symbols: list[str], stop: tuple[str, ...]) -> None:
    tail, told = Tail(stop), Told((), "")
    for token, symbol in enumerate(symbols):
        told = told.then(tail.add(token, symbol))
        if told.stopped:
            return
        whole = "".join(symbols[: token + 1])
        doubtful = [at for at in range(len(whole)) if any(s.startswith(whole[at:]) for s in stop)]
        sure = min(doubtful, default=len(whole))
        count = max(n for n in range(token + 2) if len("".join(symbols[:n])) <= sure)
        assert told.text == "".join(symbols[:count]) and len(told.tokens) == count


@given(TEXTS, STOPS)
def test_a_symbol_passes_if_it_is_told_at_once_whatever_comes_behind_it(
    symbols: list[str], stop: tuple[str, ...]
) -> None:
    tail = Tail(stop)
    for token, symbol in enumerate(symbols):
        passes = tail.passes(symbol)
        told = tail.add(token, symbol)
        assert not passes or told == Told((token,), symbol)
        if told.stopped:
            return


def test_a_token_whose_symbol_holds_the_stop_string_gives_what_stands_before_it() -> None:
    tail = Tail((" b",))
    assert tail.add(1, "a") == Told((1,), "a")
    assert tail.add(2, "x b y") == Told((), "x", stopped=True)


def test_without_stop_strings_nothing_is_held_back() -> None:
    assert Tail(()).add(3, "abc") == Told((3,), "abc")
