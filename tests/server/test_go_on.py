"""Tokens of a lane's own texts: admitted in one go, or, where anything else has to be asked, as any other step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headrace.server.lane import Lane
from headrace.server.steps import NEVER_AGAIN, Steps
from headrace.server.straight import go_on

from .fakes import Heard, steps
from .test_cached import CACHED, GROWS, LONGEST, Bench, Limits, cell_bytes


def tokens(sink: Heard, *rows: tuple[int, int]) -> Steps:
    """One token of each sequence, at (key, position)."""
    return steps(sink, [(key, position, [1.0]) for key, position in rows], acked=[NEVER_AGAIN] * len(rows))


def opened(**limits: int) -> tuple[Lane, Heard, Bench]:
    """With sequences 1 and 2, two tokens long."""
    bench = Bench(limits=replace(Limits(rows=3, tokens=4, sequences=6, part=2, few=0), **limits))
    bench.open(1, 2)
    bench.send((1, 0, [1.0, 1.0]), (2, 0, [1.0, 1.0]))
    bench.finish()
    bench.sink.take()
    return bench.lane, bench.sink, bench


def test_tokens_are_queued_and_counted_like_any_step() -> None:
    lane, sink, bench = opened()
    assert go_on(CACHED, lane.state, tokens(sink, (1, 2), (2, 2)), 101.0)
    sequences = lane.state.sequences
    assert (sequences.expected[:2].tolist(), sequences.pending[:2].tolist()) == ([3, 3], [1, 1])
    assert (sequences.used[:2] == 101.0).all() and lane.state.budget.total == 6 * cell_bytes(GROWS)
    bench.finish()
    assert sequences.position[:2].tolist() == [3, 3] and bench.last() == [3, 3]


@pytest.mark.parametrize(
    "rows",
    [[(1, 1)], [(1, 3)], [(1, 2), (9, 0)]],
    ids=["behind", "ahead", "unknown"],
)
def test_what_is_not_in_its_place_is_left_to_admission(rows: list[tuple[int, int]]) -> None:
    lane, sink, _ = opened()
    assert not go_on(CACHED, lane.state, tokens(sink, *rows), 101.0)
    assert not lane.state.scheduler and not lane.state.sequences.pending.any()


def test_what_has_a_step_pending_or_ends_or_has_no_cells_is_left_to_admission() -> None:
    lane, sink, _ = opened()
    assert go_on(CACHED, lane.state, tokens(sink, (1, 2)), 101.0)
    assert not go_on(CACHED, lane.state, tokens(sink, (1, 3)), 101.0)
    lane, sink, bench = opened(cache_bytes=5 * cell_bytes(GROWS))
    assert not go_on(CACHED, lane.state, tokens(sink, (1, 2), (2, 2)), 101.0)
    assert lane.state.budget.total == 4 * cell_bytes(GROWS)
    assert go_on(CACHED, lane.state, tokens(sink, (1, 2)), 101.0)
    lane, sink, bench = opened()
    bench.send((1, 2, [1.0] * (LONGEST - 2)))
    bench.finish()
    assert not go_on(CACHED, lane.state, tokens(sink, (1, LONGEST)), 101.0)


def test_prompts_are_left_to_admission() -> None:
    lane, sink, _ = opened()
    assert not go_on(CACHED, lane.state, steps(sink, [(1, 2, [1.0, 1.0])], acked=[NEVER_AGAIN]), 101.0)
    assert np.count_nonzero(lane.state.sequences.pending) == 0
