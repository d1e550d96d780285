"""Against all batches that could be made instead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.server.cost import Cost
from headrace.server.likeness import DEAREST, Chosen, all_alike, foremost, window

LENGTHS = st.lists(st.integers(1, 40), max_size=24)
COST = st.sampled_from([Cost(0.1, 0.0), Cost(4, 1 / 2048), Cost(1, 0.1), Cost(100, 1.0)])
BOUNDS = st.tuples(st.integers(1, 12), st.integers(1, 200))


def work(cost: Cost, added: np.ndarray, first: list[int], bounds: tuple[int, int]) -> float:
    """What rows cost that are added to the first ones; less than nothing if they may not be."""
    batch, longest = np.concatenate([first, added]), max(first)
    padding = len(batch) * batch.max() ** 2 - (added**2).sum() - len(first) * longest**2
    allowed = len(batch) <= bounds[0] and batch.sum() <= bounds[1] and cost.cell * padding <= cost.call
    return float(cost.own(added.sum(), (added**2).sum())) if allowed else -1.0


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.lists(st.integers(1, 40), min_size=1, max_size=3), COST, BOUNDS)
def test_no_other_window_next_to_the_longest_does_more(
    lengths: list[int], first: list[int], cost: Cost, bounds: tuple[int, int]
) -> None:
    others, chosen = np.array(sorted(lengths), np.int64), Chosen.of(np.array(first))
    at = int(np.searchsorted(others, chosen.longest))
    found = window(cost, others, chosen, *bounds)
    windows = [others[begin:end] for begin in range(at + 1) for end in range(at, len(others) + 1)]
    most = max(work(cost, each, first, bounds) for each in windows)
    if most < 0:  # the rows that must go are too many themselves
        assert found == slice(at, at)
    else:
        assert work(cost, others[found], first, bounds) == pytest.approx(most)


@pytest.mark.parametrize("cost", [Cost(4, 1 / 2048), Cost(30, 1 / 200), Cost(100, 0.0)])
def test_among_many_rows_no_other_window_does_more(cost: Cost) -> None:
    others, bounds = np.sort(np.random.default_rng(0).integers(1, 129, 600)), (512, 4096)
    at = int(np.searchsorted(others, 90))
    found = window(cost, others, Chosen.of(np.array([90])), *bounds)
    ends = range(at, min(len(others), at + 90) + 1)
    windows = [others[begin:end] for end in ends for begin in range(max(0, end - 90), at + 1)]
    most = max(work(cost, each, [90], bounds) for each in windows)
    assert work(cost, others[found], [90], bounds) == pytest.approx(most)


@pytest.mark.parametrize(
    ("lengths", "together"),
    [([512], 1), ([16, 9, 12], 3), ([5, 512], 2), ([5, 6, 7, 512], 3), ([512, 5, 6, 7], 2), ([9, 9, 9, 9, 9, 9], 5)],
)
def test_rows_that_must_go_do_so_unless_that_makes_the_batch_too_dear(lengths: list[int], together: int) -> None:
    assert foremost(Cost(1, 1 / 256), np.array(lengths), rows=5, tokens=1000) == together


def test_rows_that_must_go_are_bounded_in_rows_and_time_steps() -> None:
    cost = Cost(1, 1 / 256)
    assert foremost(cost, np.array([4, 4, 4]), rows=2, tokens=100) == 2
    assert foremost(cost, np.array([4, 4, 4]), rows=5, tokens=9) == 2
    assert foremost(cost, np.array([40, 4, 4]), rows=5, tokens=9) == 1  # one in any case


@given(st.lists(st.integers(1, 600), min_size=1, max_size=20), COST, BOUNDS)
def test_what_goes_first_is_never_too_dear(lengths: list[int], cost: Cost, bounds: tuple[int, int]) -> None:
    first = np.array(lengths)[: foremost(cost, np.array(lengths), *bounds)]
    own = cost.call + cost.own(first.sum(), (first**2).sum())
    assert len(first) == 1 or cost.of(len(first), first.sum(), first.max()) <= DEAREST * own * (1 + 1e-9)


def test_rows_are_alike_if_to_part_them_saves_less_than_a_call() -> None:
    assert all_alike(Cost(4, 1.0), np.array([3, 3, 3]))
    assert all_alike(Cost(5, 1.0), np.array([3, 2]))
    assert not all_alike(Cost(4.9, 1.0), np.array([3, 2]))
