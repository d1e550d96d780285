"""Random numbers by counter: the published answers, and whole numbers as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.server.writing.philox import philox, seed_of, uniforms

from . import reference

WORD = st.integers(0, 2**32 - 1)
LONG = st.integers(0, 2**64 - 1)

#: Known answers of Philox4x32-10 that its authors publish (Random123, kat_vectors): counter, key, words.
PUBLISHED = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), PUBLISHED)
def test_the_published_answers_come_out(counter: str, key: str, answer: str) -> None:
    columns = (np.array(words(text), np.uint64)[:, None] for text in (counter, key))
    assert philox(*columns)[:, 0].tolist() == words(answer)


@given(st.lists(st.tuples(st.tuples(WORD, WORD, WORD, WORD), st.tuples(WORD, WORD)), min_size=1, max_size=5))
def test_rows_side_by_side_are_what_whole_numbers_give(rows: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    counters, keys = (np.array(column, np.uint64).T for column in zip(*rows, strict=True))
    found = [reference.philox(reference.WORDS_32, counter, key) for counter, key in rows]
    assert philox(counters, keys).T.tolist() == [list(answer) for answer in found]


@given(st.lists(LONG, min_size=4, max_size=4), st.lists(LONG, min_size=2, max_size=2))
def test_the_oracle_itself_is_numpys_at_the_word_length_that_numpy_has(counter: list[int], key: list[int]) -> None:
    theirs = np.random.Philox(counter=np.array(counter, np.uint64), key=np.array(key, np.uint64))
    after = 1 + sum(word << 64 * place for place, word in enumerate(counter))  # it counts before it draws
    before = [after >> 64 * place & (1 << 64) - 1 for place in range(4)]
    assert theirs.random_raw(4).tolist() == list(reference.philox(reference.WORDS_64, before, key))


@given(st.lists(st.tuples(LONG, st.integers(0, 2**40)), min_size=1, max_size=5))
def test_a_number_depends_on_seed_and_position_alone(rows: list[tuple[int, int]]) -> None:
    seeds, positions = np.array([s for s, _ in rows], np.uint64), np.array([p for _, p in rows], np.int64)
    assert uniforms(seeds, positions).tolist() == [reference.uniform(*row) for row in rows]


def test_numbers_fill_the_unit_interval_evenly() -> None:
    drawn = uniforms(np.full(20_000, 5, np.uint64), np.arange(20_000))
    assert drawn.min() >= 0 and drawn.max() < 1
    counts = np.histogram(drawn, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-squared of 19 degrees: p = 0.0007


@given(LONG, WORD, WORD)
def test_each_continuation_has_a_seed_of_its_own(seed: int, prompt: int, copy: int) -> None:
    assert seed_of(seed, prompt, copy) == reference.seed_of(seed, prompt, copy)


def test_seeds_of_neighbours_differ() -> None:
    assert len({seed_of(seed, prompt, copy) for seed in range(4) for prompt in range(8) for copy in range(8)}) == 256
