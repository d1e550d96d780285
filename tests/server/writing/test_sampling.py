"""The choice of tokens by columns, against one row at a time in plain numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.server.commands import Sampling
from headrace.server.writing.sampling import CELLS, LIKELIEST, Settings, choose, margins

from . import reference

SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.sampled_from([0, 1, 3, 7, 50]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.7]),
    seed=st.integers(0, 2**64 - 1),
)


def rows_of(
    samplings: list[Sampling], vocabulary: int, seed: int
) -> tuple[np.ndarray, np.ndarray, Settings, np.ndarray]:
    rng, rows = np.random.default_rng(seed), len(samplings)
    logits = rng.normal(0, 3, (rows, vocabulary)).astype(np.float32)
    seen = rng.random((rows, vocabulary)) < 0.3
    return logits, seen, Settings.of(samplings, [s.seed for s in samplings], vocabulary), rng.integers(0, 1000, rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(SAMPLINGS, min_size=1, max_size=6), st.sampled_from([2, 9, 63]), st.integers(0, 2**32))
def test_rows_of_different_settings_are_each_as_if_alone(samplings: list[Sampling], vocabulary: int, seed: int) -> None:
    logits, seen, how, positions = rows_of(samplings, vocabulary, seed)
    tokens, sure = choose(logits, seen, how, positions), margins(logits, seen, how, positions) > 1e-5
    for row, sampling in enumerate(samplings):
        drawn = reference.uniform(sampling.seed, int(positions[row]))
        slow = reference.choose(logits[row].tolist(), set(np.flatnonzero(seen[row]).tolist()), sampling, drawn)
        assert tokens[row] == slow or not sure[row]


@settings(max_examples=20, deadline=None)
@given(st.lists(SAMPLINGS, min_size=2, max_size=6), st.integers(0, 2**32))
def test_a_row_is_chosen_the_same_in_any_company(samplings: list[Sampling], seed: int) -> None:
    logits, seen, how, positions = rows_of(samplings, 63, seed)
    together = choose(logits, seen, how, positions)
    for row in range(len(samplings)):
        one = np.array([row])
        assert choose(logits[one], seen[one], how.take(one), positions[one])[0] == together[row]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.2, top_p=0.9),
        Sampling(temperature=2.0, top_p=0.999),  # cuts behind the likeliest that are looked at first
        Sampling(temperature=2.0, top_k=LIKELIEST + 100, top_p=0.99),
        Sampling(temperature=1.0, repetition_penalty=1.5),
        Sampling(),
    ],
)
def test_a_large_vocabulary_is_worked_on_in_parts(sampling: Sampling) -> None:
    vocabulary = CELLS // 3
    logits, seen, how, positions = rows_of([sampling] * 7, vocabulary, 3)
    tokens, sure = choose(logits, seen, how, positions), margins(logits, seen, how, positions) > 1e-12
    for row in np.flatnonzero(sure).tolist():
        drawn = reference.uniform(sampling.seed, int(positions[row]))
        seen_here = set(np.flatnonzero(seen[row]).tolist())
        if row in (0, 6):
            assert tokens[row] == reference.choose(logits[row].tolist(), seen_here, sampling, drawn)
        one = np.array([row])
        assert tokens[row] == choose(logits[one], seen[one], how.take(one), positions[one])[0]
    assert sure.sum() > 3


def test_draws_follow_the_distribution() -> None:
    count, shares = 20_000, np.array([0.5, 0.25, 0.125, 0.125])
    logits = np.tile(np.log(shares), (count, 1))
    how = Settings.of([Sampling(temperature=1.0)] * count, range(count), 4)
    drawn = np.bincount(choose(logits, np.zeros((count, 4), np.bool_), how, np.zeros(count, np.int64)), minlength=4)
    assert ((drawn - count * shares) ** 2 / (count * shares)).sum() < 17  # chi-squared of 3 degrees: p = 0.0007


def test_tokens_as_likely_as_the_last_that_is_kept_are_kept() -> None:
    how = Settings.of([Sampling(temperature=1.0, top_k=2)] * 500, range(500), 4)
    logits = np.tile(np.array([1.0, 0.0, 1.0, 1.0]), (500, 1))
    tokens = choose(logits, np.zeros((500, 4), np.bool_), how, np.zeros(500, np.int64))
    assert set(tokens.tolist()) == {0, 2, 3}


def test_what_the_model_rules_out_is_never_chosen_and_heat_does_no_harm() -> None:
    logits = np.array([[-np.inf, 0.0, -1.0, -np.inf]] * 3, np.float32)
    samplings = [Sampling(temperature=1e-300), Sampling(temperature=1e300), Sampling(0.9, 4, 0.99, 3.0)]
    how = Settings.of(samplings, [1, 2, 3], 4)
    for position in range(100):
        tokens = choose(logits, np.ones((3, 4), np.bool_), how, np.full(3, position))
        assert tokens[0] == 1 and set(tokens.tolist()) <= {1, 2}


def test_margins_tell_how_near_another_choice_was() -> None:
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    samplings = [Sampling(), Sampling(1.0), Sampling(1.0, top_k=2), Sampling(1.0, top_p=0.65)]
    how, logits = Settings.of(samplings, [1] * 4, 4), np.tile(np.log(shares), (4, 1))
    drawn = reference.uniform(1, 9)
    found = margins(logits, np.zeros((4, 4), np.bool_), how, np.full(4, 9))
    assert found[0] == pytest.approx(math.log(0.4 / 0.3))
    assert found[1] == pytest.approx(min(abs(drawn - edge) for edge in (0.4, 0.7, 0.9)))
    assert found[2] == pytest.approx(min(abs(drawn - 0.4 / 0.7), math.log(0.3 / 0.2)))
    assert found[3] == pytest.approx(min(abs(drawn - 0.4 / 0.7), 0.05))


def test_a_token_is_nudged_over_the_edge_only_where_the_margin_is_small() -> None:
    """Logits that differ by as much as those of one batch and another do: decisions differ only near a boundary."""
    samplings = [Sampling(temperature=1.0, top_k=20, top_p=0.9, seed=seed) for seed in range(2000)]
    logits, seen, how, positions = rows_of(samplings, 63, 11)
    nudged = logits + np.random.default_rng(1).normal(0, 1e-6, logits.shape).astype(np.float32)
    differ = choose(logits, seen, how, positions) != choose(nudged, seen, how, positions)
    near = margins(logits, seen, how, positions) < 1e-5
    assert not (differ & ~near).any()
    assert near.sum() < 10
