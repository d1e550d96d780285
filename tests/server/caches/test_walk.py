"""Rows that are run further at once give what they give tick by tick, and leave what the next tick goes on from."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.server.caches.engine import CachedEngine

from ...export.decoders import decoder, decoder_graph
from .driven import NONE, Driven
from .graphs import CHUNK, FEATURES, LONGEST, Case
from .test_engine import CASES, batch


def opened(case: Case, count: int) -> Driven:
    driven = Driven(case)
    for number in range(count):
        driven.open(number)
    return driven


@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name].carried])
def test_a_walk_gives_what_ticks_give_and_the_next_tick_goes_on_behind_it(name: str) -> None:
    driven = opened(CASES[name], 3)
    driven.tick({0: 5, 1: 1, 2: 3})
    assert driven.walk([0, 1, 2], 6) == 6
    driven.tick({0: 1, 1: CHUNK, 2: 2})
    assert driven.walk([2, 0, 1], 6) >= 1  # their rows lie in another order; a window may have to slide soon
    driven.tick({0: 1, 1: 1, 2: 1})


def test_there_is_room_up_to_the_longest_sequence() -> None:
    driven = opened(CASES["heads"], 2)
    driven.tick({0: 8, 1: 1})
    assert driven.walk([0, 1], LONGEST) == LONGEST - 9
    driven.tick({1: 1})


def test_where_a_window_would_slide_a_walk_ends() -> None:
    driven = opened(CASES["window"], 2)
    for _ in range(12):
        assert driven.walk([0, 1], 3 * CHUNK) < 3 * CHUNK
    assert len(driven.texts[0]) > 2 * LONGEST


def test_states_that_are_carried_and_idle_rows_take_no_walks() -> None:
    assert opened(CASES["carried"], 2).walk([0, 1], 3) == 0
    driven = opened(CASES["heads"], 3)
    assert driven.walk([0, 1, 2], 3) == 3 and driven.walk([0, 2], 3) == 0
    driven.tick({0: 2, 1: 1, 2: 1})
    assert driven.engine.walk(np.arange(3), NONE) is None


def test_what_is_not_sound_ends_a_walk_and_is_as_if_it_had_not_run() -> None:
    driven = opened(CASES["turned"], 2)
    driven.walk([0, 1], 2)
    walk = driven.engine.walk(np.arange(2), NONE)
    assert walk is not None and walk.on(np.full((2, FEATURES), np.nan, np.float32)) is None
    walk.end()
    driven.tick({0: 1, 1: 3})


def test_what_a_call_gave_stays_whatever_comes_of_the_next() -> None:
    driven = opened(CASES["turned"], 2)
    driven.tick({0: 1, 1: 1})
    walk, x = driven.engine.walk(np.arange(2), NONE), np.ones((2, FEATURES), np.float32)
    assert walk is not None
    cells = walk.on(x)
    before = [each.copy() for each in cells or ()]
    assert before and walk.on(x * np.nan) is None
    np.testing.assert_equal(cells, before)


def test_what_the_runtime_refuses_ends_a_walk_too() -> None:
    spec = decoder().describe("decoder")
    engine = CachedEngine(decoder_graph(), spec, 8, "CPU", rows=2)
    ones, none = np.ones(2, np.int64), np.zeros(2, np.int64)
    engine.run(batch(ones, ones, np.arange(2), none))
    walk = engine.walk(np.arange(2), NONE)
    assert walk is not None and walk.on(ones) is not None and walk.compute_cpu > 0
    with pytest.raises(Exception, match="indices"):
        walk.on(np.array([1, 1000]))
    walk.end()
    assert engine.run(batch(ones, ones, np.arange(2), none + 2)).sound.all()
    with pytest.raises(Exception, match="refused"):
        engine.run(batch(ones, ones, np.arange(2), none + 4))


def test_a_part_of_what_wrote_takes_no_walk() -> None:
    """A batch that was refused has run by halves; the last call is one of them."""
    driven = opened(CASES["heads"], 2)
    driven.walk([0, 1], 2)
    driven.tick({0: 1})
    assert driven.engine.walk(np.arange(2), NONE) is None and driven.engine.walk(np.arange(1), NONE) is not None
